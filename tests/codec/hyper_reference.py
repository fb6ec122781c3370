"""The hyperprior's payload in Python's integers, written from docs/format.md alone."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kompakt_codec.entropy import EntropyTables, frequencies_from_counts
from kompakt_codec.hyper_coder import HyperEntropy
from kompakt_codec.integer import Lookup
from kompakt_codec.integer_conv import IntegerConv
from kompakt_codec.table_coder import TableEntropy

Planes = list[list[list[int]]]
Step = tuple[int, int]
"""Cumulative frequency and frequency."""

LEVELS = 2
CLASSES = ((20, 2), (26, 4), (32, 8), (37, 16), (43, 32), (48, 64), (64, 256))
"""The last scale of each class, and how far its tables reach."""
PLACES = ((0, 0), (1, 1), (0, 1), (1, 0))
_HALF = 1 << 23


def random_entropy(
    seed: int,
    *,
    groups: Sequence[int] = (1, 2),
    units: int = 3,
    side: int = 2,
    spatial: int = 0,
) -> HyperEntropy:
    """Random integers of every size that means, scales and z of all kinds come from."""
    rng = np.random.default_rng(seed)
    shapes = {
        "h_a.0": (units, sum(groups), 3),
        "h_a.1": (units, units, 2),
        "h_a.2": (side, units, 1),
        "h_s.0": (4 * units, side, 1),
        "h_s.1": (units, units, 3),
    }
    for i, size in enumerate(groups):
        shapes[f"mixed.{i}"] = (units, units, 1)
        shapes[f"last.{i}"] = (2 * size, units, 1)
        if i:
            shapes[f"before.{i - 1}"] = (units, sum(groups[:i]), 3)
    for i in range(3 * spatial):
        shapes[f"near.{i}"] = (units, groups[i // 3], 3)
        shapes[f"near_mixed.{i}"] = (units, units, 1)
        shapes[f"near_last.{i}"] = (2 * groups[i // 3], units, 1)
    layers = {}
    for name, (outputs, inputs, kernel) in shapes.items():
        whole = name in ("h_a.0", "h_s.0") or name.startswith(("before", "near."))
        weight = rng.normal(0, 2500, (outputs, inputs, kernel, kernel)).astype(np.int16)
        unit = 1 << (12 if whole else 22)
        shifts = rng.normal(0, 1, (LEVELS, outputs)) * unit
        if name.startswith(("last", "near_last")):
            shifts[:, outputs // 2 :] = rng.uniform(-4.5, 4.5, (LEVELS, outputs // 2)) * unit
        layers[name] = IntegerConv(
            weight=weight,
            shifts=shifts.astype(np.int64),
            largest_input=1 << 15 if name == "h_s.0" else 1023 if whole else 1 << 16,
        )
    tables = TableEntropy([_random_tables(rng, side) for _ in range(LEVELS)])
    return HyperEntropy(layers=layers, side=tables, lookup=Lookup.make())


def _random_tables(rng: np.random.Generator, side: int) -> EntropyTables:
    lengths = rng.integers(1, 9, side)
    return EntropyTables(
        shape=(side, 1, 1),
        minimums=[int(m) for m in rng.integers(-5, 2, side)],
        frequencies=[frequencies_from_counts(rng.integers(1, 1000, n)) for n in lengths],
    )


def random_symbols(seed: int, count: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Symbols that are mostly small, with some at the ends of what can be coded."""
    rng = np.random.default_rng(seed)
    symbols = np.rint(rng.normal(0, 3, (count, *shape)))
    extreme = rng.random(symbols.shape) < 0.05
    return np.where(extreme, rng.choice([-1023, 1023], symbols.shape), symbols).astype(np.int16)


def reference_payload(entropy: HyperEntropy, symbols: np.ndarray, level: float) -> bytes:
    """The payload of one image's symbols (C, h, w)."""
    return payload_of(_steps(entropy, symbols.tolist(), level))


def payload_of(steps: Iterator[Step]) -> bytes:
    """The shortest bytes within the interval that the steps leave."""
    low, span, words = 0, (1 << 64) - 1, 0
    for cumulative, frequency in steps:
        scale = span >> 24
        low, span = low + scale * cumulative, scale * frequency
        while span < 1 << 32:
            low, span, words = low << 32, span << 32, words + 1
    bits = 32 * (words + 2)
    for length in range(bits // 8 + 1):
        shift = bits - 8 * length
        value = -(-low >> shift)
        if value << shift < low + span:
            return value.to_bytes(length, "big")
    raise AssertionError("the interval is empty")


def _steps(entropy: HyperEntropy, y: Planes, level: float) -> Iterator[Step]:
    z = _side_information(entropy, y, level)
    tables = entropy.side.tables[math.floor(level + 0.5)]
    for plane, minimum, table in zip(z, tables.minimums, tables.frequencies, strict=True):
        for value in (value for row in plane for value in row):
            if len(table) > 1:
                index = value - minimum
                yield sum(table[:index].tolist()), int(table[index])
    size = len(y[0]), len(y[0][0])
    h = shuffle(_conv(entropy, "h_s.0", z, level))
    h = [[row[: size[1]] for row in plane[: size[0]]] for plane in h]
    features = _conv(entropy, "h_s.1", _each(lambda x: act(rounded(x, 2)), h), level)
    start, group = 0, 0
    while f"last.{group}" in entropy.layers:
        stop = start + len(entropy.layers[f"last.{group}"].weight) // 2
        sums = features
        if group:
            told = _conv(entropy, f"before.{group - 1}", y[:start], level)
            sums = _plus(sums, told)
        is_spatial = f"near.{3 * group}" in entropy.layers
        for step, place in enumerate(PLACES if is_spatial else (None,)):
            name, seen = f"{group}", sums
            if step:
                name = f"{3 * group + step - 1}"
                known = _known(y[start:stop], PLACES[:step])
                seen = _plus(sums, _conv(entropy, f"near.{name}", known, level))
            part = "near_" if step else ""
            means, scales = _parameters(entropy, part, name, seen, level)
            planes = (_cut(planes, place) for planes in (y[start:stop], means, scales))
            yield from residual_steps(entropy.lookup, *map(_flat, planes))
        start, group = stop, group + 1


def _known(planes: Planes, places: Sequence[tuple[int, int]]) -> Planes:
    """Zero but for every other row and column from each of the places on."""
    return [
        [
            [v if (r % 2, c % 2) in places else 0 for c, v in enumerate(row)]
            for r, row in enumerate(plane)
        ]
        for plane in planes
    ]


def _cut(planes: Planes, place: tuple[int, int] | None) -> Planes:
    if place is None:
        return planes
    return [[row[place[1] :: 2] for row in plane[place[0] :: 2]] for plane in planes]


def _plus(sums: Planes, told: Planes) -> Planes:
    return [
        [[f + 1024 * t for f, t in zip(*rows, strict=True)] for rows in zip(*pair, strict=True)]
        for pair in zip(sums, told, strict=True)
    ]


def _side_information(entropy: HyperEntropy, y: Planes, level: float) -> Planes:
    h = _each(lambda x: act(rounded(x, 2)), _conv(entropy, "h_a.0", y, level))
    h = _each(lambda x: act(rounded(x, 12)), _conv(entropy, "h_a.1", h, level, stride=2))
    z = _each(lambda x: rounded(x, 22), _conv(entropy, "h_a.2", h, level))
    tables = entropy.side.tables[math.floor(level + 0.5)]
    return [
        [[min(max(v, low), low + len(table) - 1) for v in row] for row in plane]
        for plane, low, table in zip(z, tables.minimums, tables.frequencies, strict=True)
    ]


def _parameters(
    entropy: HyperEntropy, part: str, name: str, sums: Planes, level: float
) -> tuple[Planes, Planes]:
    h = _each(lambda x: act(rounded(x, 12)), sums)
    h = _conv(entropy, f"{part}mixed.{name}", h, level)
    h = _each(lambda x: act(rounded(x, 12)), h)
    p = _each(lambda x: rounded(x, 14), _conv(entropy, f"{part}last.{name}", h, level))
    means = _each(lambda x: min(max(x, -1023 * 256), 1023 * 256), p[: len(p) // 2])
    return means, p[len(p) // 2 :]


def residual_steps(
    lookup: Lookup, symbols: list[int], means: list[int], scales: list[int]
) -> Iterator[Step]:
    """How symbols with a mean and a log-scale each are coded: class by class, then escapes."""
    indices = [min(max((s + 1040) >> 5, 0), 64) for s in scales]
    first = 0
    for last, reach in CLASSES:
        beyond = []
        fractions = [((mean + 128) & 255) >> 4 for mean in means]
        order = sorted(range(len(symbols)), key=lambda k: (indices[k], fractions[k], k))
        for k in order:
            symbol, mean, index = symbols[k], means[k], indices[k]
            if not first <= index <= last:
                continue
            rest = symbol - ((mean + 128) >> 8)
            cell = min(max(rest, -reach), reach) + reach
            frequencies = table_of(lookup, index, ((mean + 128) & 255) >> 4, reach)
            yield sum(frequencies[:cell]), frequencies[cell]
            if abs(rest) >= reach:
                beyond.append(abs(rest) - reach)
        for value in beyond:
            digits = bin(value + 1)[2:]
            for bit in "1" * (len(digits) - 1) + "0" + digits[1:]:
                yield _HALF * int(bit), _HALF
        first = last + 1


def table_of(lookup: Lookup, index: int, fraction: int, reach: int) -> list[int]:
    """Frequencies of a residual from -reach to reach."""
    n = 2 * reach + 1
    inverse = int(lookup.exp[32 * index])
    cells = [0]
    for k in range(-reach, reach):
        t = ((((2 * k + 1) * 128 - (16 * fraction - 120)) * inverse) >> 17) + 2048
        cells.append((int(lookup.sigmoid[min(max(t, 0), 4095)]) * ((1 << 24) - n)) >> 20)
    cells.append((1 << 24) - n)
    return [cells[i + 1] - cells[i] + 1 for i in range(n)]


def rounded(x: int, bits: int) -> int:
    """The nearest whole number to x / 2**bits, halves up."""
    return (x + (1 << (bits - 1))) >> bits


def act(x: int) -> int:
    """The leaky rectifier, within its limits."""
    return min(max(max(x, x >> 3), -65536), 65536)


def shuffle(x: Planes) -> Planes:
    """Four channels to one of twice the height and width."""
    height, width = len(x[0]), len(x[0][0])
    return [
        [
            [x[4 * c + 2 * (r % 2) + s % 2][r // 2][s // 2] for s in range(2 * width)]
            for r in range(2 * height)
        ]
        for c in range(len(x) // 4)
    ]


def _shifts(levels: list[list[int]], level: float) -> list[int]:
    whole, eighths = divmod(int(8 * level), 8)
    if not eighths:
        return levels[whole]
    ends = zip(levels[whole], levels[whole + 1], strict=True)
    return [((8 - eighths) * a + eighths * b) >> 3 for a, b in ends]


def _conv(entropy: HyperEntropy, name: str, x: Planes, level: float, stride: int = 1) -> Planes:
    weights = entropy.layers[name].weight.tolist()
    shifts = _shifts(entropy.layers[name].shifts.tolist(), level)
    kernel, height, width = len(weights[0][0]), len(x[0]), len(x[0][0])
    before = kernel // 2 if stride == 1 else 0

    def seen(weight: Planes, r: int, s: int) -> int:
        total = 0
        for plane, rows in zip(x, weight, strict=True):
            for i, row in enumerate(rows):
                for j, w in enumerate(row):
                    a, b = r + i - before, s + j - before
                    if 0 <= a < height and 0 <= b < width:
                        total += w * plane[a][b]
        return total

    return [
        [
            [shift + seen(weight, r, s) for s in range(0, width, stride)]
            for r in range(0, height, stride)
        ]
        for weight, shift in zip(weights, shifts, strict=True)
    ]


def _each(function: Callable[[int], int], planes: Planes) -> Planes:
    return [[[function(x) for x in row] for row in plane] for plane in planes]


def _flat(planes: Planes) -> list[int]:
    return [x for plane in planes for row in plane for x in row]
