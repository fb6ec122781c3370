"""The cheapest split of bytes into DEFLATE's literals and matches, for the last byte of a stream.

As in Zopfli (Alakuijala and Vandevenne 2013): a shortest path by what the symbols cost, again and
again with the costs that the last path's codes gave.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from kompakt_codec.classical._huffman import (
    FIXED_DISTANCES,
    FIXED_LITERALS,
    NUM_DISTANCES,
    NUM_LITERALS,
    Token,
    shortest_block,
)

_MIN_MATCH, _MAX_MATCH = 3, 258
_FIRST_LENGTH = 257
_MIN_ROUNDS, _MAX_ROUNDS = 4, 100
_MAX_WORK = 1 << 16
"""Bytes times rounds, where the fewest rounds allow."""
_CALM_ROUNDS = 3
_NOISE_BITS = 2.5
_UNUSED_BITS = 12
"""What a symbol is taken to cost that the last path did without."""

_Match = tuple[int, int, int]
"""The fewest and the most bytes that it is the best to copy, and its distance."""
_Costs = npt.NDArray[np.float64]


def _symbol_table(least: int, most: int, free: int, per: int) -> npt.NDArray[np.int64]:
    """(least value, extra bits) by symbol (RFC 1951, 3.2.5): `per` symbols share extra bits."""
    table: list[tuple[int, int]] = []
    while least <= most:
        extra = max(0, (len(table) - free) // per + 1)
        table.append((least, extra))
        least += 1 << extra
    return np.array(table)


_LENGTHS = np.vstack([_symbol_table(_MIN_MATCH, _MAX_MATCH - 1, 8, 4), (_MAX_MATCH, 0)])
_DISTANCES = _symbol_table(1, 1 << 15, 4, 2)


def optimal_blocks(data: bytes) -> Iterator[bytes]:
    """Last blocks, each without its end, for up to some ten thousand bytes: slow, but short."""
    matches = _find_matches(np.frombuffer(data, np.uint8))
    rng = np.random.default_rng(0)
    literals = _costs(FIXED_LITERALS, NUM_LITERALS)
    distances = _costs(FIXED_DISTANCES, NUM_DISTANCES)
    for round_ in range(max(_MIN_ROUNDS, min(_MAX_ROUNDS, _MAX_WORK // len(data)))):
        if round_ >= _CALM_ROUNDS:  # away from where the path repeats itself
            literals += rng.uniform(-_NOISE_BITS, _NOISE_BITS, NUM_LITERALS)
            distances += rng.uniform(-_NOISE_BITS, _NOISE_BITS, NUM_DISTANCES)
        tokens = _cheapest_tokens(data, matches, np.maximum(literals, 1), np.maximum(distances, 1))
        block, literal_bits, distance_bits = shortest_block(tokens)
        yield block
        literals = _costs(literal_bits, NUM_LITERALS)
        distances = _costs(distance_bits, NUM_DISTANCES)


def _costs(bits: Mapping[int, int], num_symbols: int) -> _Costs:
    return np.array([float(bits.get(symbol, _UNUSED_BITS)) for symbol in range(num_symbols)])


def _find_matches(data: npt.NDArray[np.uint8]) -> list[list[_Match]]:
    """By position, the nearest match of each length; beyond the end, all bytes match."""
    matches: list[list[_Match]] = [[] for _ in data]
    longest = np.full(len(data), _MIN_MATCH - 1)
    positions = np.arange(len(data))
    for distance in range(1, min(len(data), 1 << 15)):
        equal = data[distance:] == data[:-distance]
        ends = np.where(equal, len(data) + _MAX_MATCH, positions[distance:])
        ends = np.minimum.accumulate(ends[::-1])[::-1]
        runs = np.minimum(ends - positions[distance:], _MAX_MATCH)
        for i in np.flatnonzero(runs > longest[distance:]):
            at, run = int(i) + distance, int(runs[i])
            matches[at].append((int(longest[at]) + 1, run, distance))
            longest[at] = run
    return matches


def _cheapest_tokens(
    data: bytes,
    matches: list[list[_Match]],
    literals: _Costs,
    distances: _Costs,
) -> list[Token]:
    """Shortest path through the data; a step's cost is the bits of its symbols.

    The last match may reach beyond the end: the decoder stops there.
    """
    lengths_to_copy = np.arange(_MAX_MATCH + 1)
    by_length = (literals[_FIRST_LENGTH:] + _LENGTHS[:, 1])[_symbol(lengths_to_copy, _LENGTHS)]
    by_distance = distances + _DISTANCES[:, 1]
    cost: _Costs = np.full(len(data) + _MAX_MATCH, np.inf)
    steps = np.zeros((len(cost), 2), np.int64)  # bytes taken and distance, by their end
    cost[0] = 0
    for at, byte in enumerate(data):
        if cost[at] + literals[byte] < cost[at + 1]:
            cost[at + 1], steps[at + 1] = cost[at] + literals[byte], (1, 0)
        for least, most, distance in matches[at]:
            price = cost[at] + by_length[least : most + 1]
            price = price + by_distance[_symbol(distance, _DISTANCES)]
            better = np.flatnonzero(price < cost[at + least : at + most + 1])
            cost[at + least + better] = price[better]
            steps[at + least + better] = np.stack(
                [least + better, np.full_like(better, distance)], axis=1
            )
    return _trace(data, steps.tolist(), len(data) + int(np.argmin(cost[len(data) :])))


def _trace(data: bytes, steps: list[list[int]], end: int) -> list[Token]:
    tokens = []
    while end:
        length, distance = steps[end]
        end -= length
        tokens.append(_match(length, distance) if distance else Token(data[end]))
    return tokens[::-1]


def _match(length: int, distance: int) -> Token:
    symbol, place = int(_symbol(length, _LENGTHS)), int(_symbol(distance, _DISTANCES))
    return Token(
        _FIRST_LENGTH + symbol,
        (length - int(_LENGTHS[symbol, 0]), int(_LENGTHS[symbol, 1])),
        place,
        (distance - int(_DISTANCES[place, 0]), int(_DISTANCES[place, 1])),
    )


def _symbol(
    values: int | npt.NDArray[np.int64], table: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    return np.searchsorted(table[:, 0], values, side="right") - 1
