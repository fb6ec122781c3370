"""A DEFLATE block as its codes: their lengths, its header and its symbols, down to the bits.

What zlib leaves lying: the symbol that ends a block need not be cheap if it is never sent, the
header's own run lengths can be chosen best, and code lengths that are not optimal for the symbols
may pay by a shorter header (the last is an idea of Zopfli's, Alakuijala and Vandevenne 2013).
"""

import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise, product
from operator import itemgetter

Bits = list[tuple[int, int]]
"""Numbers and how many bits each takes, from the first of the stream on."""

END_OF_BLOCK = 256
NUM_LITERALS, NUM_DISTANCES = 286, 30
_HEADER_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
_RUNS = {16: (3, 6, 2), 17: (3, 10, 3), 18: (11, 138, 7)}
"""Symbols of the header that repeat: the least and the most times, and extra bits."""
_MAX_BITS = 15

FIXED_LITERALS = {s: 8 if s < 144 else 9 if s < 256 else 7 if s < 280 else 8 for s in range(288)}
FIXED_DISTANCES = dict.fromkeys(range(30), 5)
_FIXED_HEADER = [(1, 1), (1, 2)]


@dataclass(frozen=True, slots=True)
class Token:
    """A literal, or a match as the symbols and extra bits of its length and distance."""

    symbol: int
    """Of the alphabet of literals and lengths."""
    extra: tuple[int, int] = (0, 0)
    distance: int | None = None
    """A symbol."""
    distance_extra: tuple[int, int] = (0, 0)


def code_lengths(weights: Mapping[int, float], limit: int) -> dict[int, int]:
    """Lengths of the optimal prefix code whose codes are at most limit bits long.

    Larmore and Hirschberg, "A fast algorithm for optimal length-limited Huffman codes", 1990. A
    lone symbol gets 1 bit.
    """
    coins = sorted((weight, (symbol,)) for symbol, weight in weights.items())
    packages: list[tuple[float, tuple[int, ...]]] = [*coins]
    for _ in range(limit - 1):
        pairs = zip(packages[::2], packages[1::2], strict=False)
        packages = [*coins, *((a[0] + b[0], a[1] + b[1]) for a, b in pairs)]
        packages.sort(key=itemgetter(0))  # stable: among equals a coin goes first
    taken = packages[: max(1, 2 * len(coins) - 2)]
    return dict(Counter(symbol for _, symbols in taken for symbol in symbols))


def shortest_block(tokens: list[Token]) -> tuple[bytes, dict[int, int], dict[int, int]]:
    """A last block of these tokens without its end, and the two codes' lengths by symbol."""
    literals = Counter(token.symbol for token in tokens)
    distances = Counter(token.distance for token in tokens if token.distance is not None)
    best = FIXED_LITERALS, FIXED_DISTANCES
    best_bits = [*_FIXED_HEADER, *_body(tokens, *best)]
    for literal_weights, distance_weights in product(_weights(literals), _weights(distances)):
        codes = (
            code_lengths({**literal_weights, END_OF_BLOCK: 0}, _MAX_BITS),
            code_lengths(distance_weights, _MAX_BITS) if distances else {},
        )
        bits = [*_header(*codes), *_body(tokens, *codes)]
        if _count(bits) < _count(best_bits):
            best, best_bits = codes, bits
    return _pack(best_bits), *best


def _weights(counts: Mapping[int, int]) -> Iterator[dict[int, float]]:
    """The counts as they are, and smoothed so that runs of equal lengths shorten the header."""
    yield dict(counts)
    for floor in (2, 4, 1 << 15):
        yield {symbol: max(floor, count) for symbol, count in counts.items()}
    for gap in (1, 3):
        yield _filled(counts, gap)


def _filled(counts: Mapping[int, int], gap: int) -> dict[int, float]:
    """Counts as means over neighbours, with symbols between two that are so near filled in."""
    filled: dict[int, float] = dict(counts)
    for a, b in pairwise(sorted(counts)):
        if b - a <= gap and END_OF_BLOCK not in range(a, b):
            filled.update(dict.fromkeys(range(a + 1, b), 0.5))
    return {
        symbol: sum(filled.get(symbol + step, 0) for step in (-1, 0, 1)) / 3 for symbol in filled
    }


def _header(literals: Mapping[int, int], distances: Mapping[int, int]) -> Bits:
    num_literals = max(END_OF_BLOCK, *literals) + 1
    num_distances = max(distances, default=0) + 1
    lengths = [literals.get(symbol, 0) for symbol in range(num_literals)]
    lengths += [distances.get(symbol, 0) for symbol in range(num_distances)]
    costs = dict.fromkeys(range(19), 4)
    for _ in range(3):
        runs = _best_runs(lengths, costs)
        counts = Counter(symbol for symbol, _ in runs)
        code = code_lengths(counts if len(counts) > 1 else {**counts, 0: 1, 18: 1}, 7)
        costs = {symbol: code.get(symbol, 7) for symbol in range(19)}
    num_code = max(4, 1 + max(_HEADER_ORDER.index(symbol) for symbol in code))
    bits = [(1, 1), (2, 2), (num_literals - 257, 5), (num_distances - 1, 5), (num_code - 4, 4)]
    bits += [(code.get(symbol, 0), 3) for symbol in _HEADER_ORDER[:num_code]]
    codes = _codes(code)
    for symbol, times in runs:
        bits.append(codes[symbol])
        if symbol in _RUNS:
            least, _, extra = _RUNS[symbol]
            bits.append((times - least, extra))
    return bits


def _best_runs(lengths: list[int], costs: Mapping[int, int]) -> list[tuple[int, int]]:
    """The cheapest spelling of the code lengths: symbols of the header and how often each."""
    repeats = costs[16], costs[17], costs[18]
    spelling: list[tuple[int, int]] = []
    for length, run in groupby(lengths):
        spelling += _spell(length, len(list(run)), costs[length], *repeats)
    return spelling


@functools.lru_cache(maxsize=1 << 14)
def _spell(
    length: int, times: int, once: int, again: int, zeros: int, many_zeros: int
) -> list[tuple[int, int]]:
    """The cheapest spelling of one length so many times, by what four symbols cost."""
    repeats = [(16, again)] if length else [(16, again), (17, zeros), (18, many_zeros)]
    best: list[tuple[int, list[tuple[int, int]]]] = [(0, [])]
    for end in range(1, times + 1):
        cost, spelling = best[end - 1]
        options = [(cost + once, spelling, (length, 1))]
        for symbol, price in repeats:
            least, most, extra = _RUNS[symbol]
            first = 1 if symbol == 16 else 0  # 16 repeats what stands before it
            for start in range(max(first, end - most), end - least + 1):
                cost, spelling = best[start]
                options.append((cost + price + extra, spelling, (symbol, end - start)))
        cost, spelling, step = min(options, key=itemgetter(0))
        best.append((cost, [*spelling, step]))
    return best[-1][1]


def _body(tokens: list[Token], literals: dict[int, int], distances: dict[int, int]) -> Bits:
    literal_codes, distance_codes = _codes(literals), _codes(distances)
    bits = []
    for token in tokens:
        bits += [literal_codes[token.symbol], token.extra]
        if token.distance is not None:
            bits += [distance_codes[token.distance], token.distance_extra]
    return bits


def _codes(lengths: Mapping[int, int]) -> dict[int, tuple[int, int]]:
    """The canonical codes of RFC 1951, 3.2.2, as they stand in the stream: first bit lowest."""
    codes, code, last = {}, 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in lengths.items()):
        code <<= length - last
        codes[symbol] = int(f"{code:0{length}b}"[::-1], 2), length
        code, last = code + 1, length
    return codes


def _count(bits: Bits) -> int:
    return sum(width for _, width in bits)


def _pack(bits: Bits) -> bytes:
    value = position = 0
    for number, width in bits:
        value |= number << position
        position += width
    return value.to_bytes(-(-position // 8), "little")
