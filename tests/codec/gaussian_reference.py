"""The Gaussian payload in Python's integers, written from docs/format.md alone."""

from collections.abc import Callable, Iterator

import numpy as np

from kompakt_codec.entropy import EntropyTables, frequencies_from_counts
from kompakt_codec.gaussian_coder import GaussianEntropy
from kompakt_codec.integer_conv import IntegerConv
from kompakt_codec.scale_coder import ScaleTables
from kompakt_codec.scale_network import LIMIT, ScaleNetwork
from kompakt_codec.table_coder import TableEntropy
from tests.codec.hyper_reference import Planes, Step, payload_of, shuffle

_HALF = 1 << 23


def random_entropy(
    seed: int, *, latents: int = 2, side: int = 3, units: int = 2, size: float = 2000
) -> GaussianEntropy:
    """Random integers that scales of all kinds come from."""
    rng = np.random.default_rng(seed)
    bits = [int(n) for n in rng.integers(11, 14, 3)]
    shapes = [(4 * units, side), (4 * (units + 1), units), (latents, units + 1)]
    layers = [
        IntegerConv(
            weight=rng.normal(0, size, (*shape, 3, 3)).astype(np.int16),
            shifts=(rng.normal(0, 1, (1, shape[0])) * 2.0 ** (n + 12)).astype(np.int64),
            largest_input=LIMIT,
        )
        for shape, n in zip(shapes, bits, strict=True)
    ]
    network = ScaleNetwork(
        layers=layers,
        bits=bits,
        slope=int(rng.choice([0, 10486, 1 << 20])),
        offsets=rng.integers(-5000, 5000, side).astype(np.int32),
    )
    reaches = [int(n) for n in rng.integers(1, 9, 6)]
    tables = EntropyTables(
        shape=(6, 1, 1),
        minimums=[-reach for reach in reaches],
        frequencies=[_random_table(rng, 2 * reach + 1) for reach in reaches],
    )
    thresholds = np.sort(rng.choice(40_000, 5, replace=False) - 20_000).astype(np.int32)
    return GaussianEntropy(
        network=network,
        side=TableEntropy([_side_tables(rng, side)]),
        scales=ScaleTables(tables, thresholds),
    )


def _side_tables(rng: np.random.Generator, side: int) -> EntropyTables:
    lengths = rng.integers(1, 9, side)
    return EntropyTables(
        shape=(side, 1, 1),
        minimums=[int(m) for m in rng.integers(-5, 2, side)],
        frequencies=[_random_table(rng, n) for n in lengths],
    )


def _random_table(rng: np.random.Generator, length: int) -> np.ndarray:
    return frequencies_from_counts(rng.integers(1, 1000, length))


def random_symbols(entropy: GaussianEntropy, seed: int, count: int, size: tuple[int, int]):
    """Symbols (count, C, h, w), mostly small, with some at the ends of what can be coded."""
    rng = np.random.default_rng(seed)
    shape = (count, entropy.channels, *size)
    latents = rng.normal(0, 3, shape)
    extreme = rng.random(shape) < 0.02
    latents = np.where(extreme, rng.choice([-2000, 1022, 1023], shape), latents)
    return entropy.quantise(latents.astype(np.float32), [0] * count)


def reference_payload(entropy: GaussianEntropy, symbols: np.ndarray) -> bytes:
    """The payload of one image's symbols (C, h, w)."""
    return payload_of(_steps(entropy, symbols.tolist()))


def _steps(entropy: GaussianEntropy, symbols: Planes) -> Iterator[Step]:
    folded = 16 * entropy.network.channels
    y, z = unfolded(symbols[:folded]), symbols[folded:]
    tables = entropy.side.tables[0]
    for plane, minimum, table in zip(z, tables.minimums, tables.frequencies, strict=True):
        for value in _flat([plane]):
            if len(table) > 1:
                yield _step(table, value - minimum)
    scales = reference_scales(entropy.network, z)
    for value, scale in zip(_flat(y), _flat(scales), strict=True):
        row = sum(int(threshold) <= scale for threshold in entropy.scales.thresholds)
        table = entropy.scales.tables.frequencies[row]
        reach = len(table) // 2
        yield _step(table, min(max(value, -reach), reach) + reach)
        if abs(value) >= reach:
            digits = bin(abs(value) - reach + 1)[2:]
            for bit in "1" * (len(digits) - 1) + "0" + digits[1:]:
                yield _HALF * int(bit), _HALF


def _step(table: np.ndarray, index: int) -> Step:
    return sum(table[:index].tolist()), int(table[index])


def unfolded(folded: Planes) -> Planes:
    """Y (M, 4 h, 4 w) of its symbols (16 M, h, w)."""
    height, width = len(folded[0]), len(folded[0][0])
    return [
        [
            [folded[16 * c + 4 * (r % 4) + s % 4][r // 4][s // 4] for s in range(4 * width)]
            for r in range(4 * height)
        ]
        for c in range(len(folded) // 16)
    ]


def reference_scales(network: ScaleNetwork, z: Planes) -> Planes:
    """Scales (M, 4 h, 4 w) of z (S, h, w)."""
    offsets = network.offsets.tolist()
    t = [
        [[clip(4096 * value + offset) for value in row] for row in plane]
        for plane, offset in zip(z, offsets, strict=True)
    ]
    for index in range(3):
        layer, bits = network.layers[index], network.bits[index]
        t = _each(lambda x, n=bits: rounded(x, n), _conv(layer, t))
        if index < 2:
            t = _each(lambda x: rectified(clip(x), network.slope), shuffle(t))
    return t


def rounded(x: int, bits: int) -> int:
    return (x + (1 << (bits - 1))) >> bits


def clip(x: int) -> int:
    return min(max(x, -(1 << 24)), 1 << 24)


def rectified(x: int, slope: int) -> int:
    return x if x >= 0 else rounded(slope * x, 20)


def _conv(layer: IntegerConv, x: Planes) -> Planes:
    weights, shifts = layer.weight.tolist(), layer.shifts[0].tolist()
    height, width = len(x[0]), len(x[0][0])

    def seen(weight: Planes, r: int, s: int) -> int:
        total = 0
        for plane, rows in zip(x, weight, strict=True):
            for i, row in enumerate(rows):
                for j, w in enumerate(row):
                    a, b = r + i - 1, s + j - 1
                    if 0 <= a < height and 0 <= b < width:
                        total += w * plane[a][b]
        return total

    return [
        [[shift + seen(weight, r, s) for s in range(width)] for r in range(height)]
        for weight, shift in zip(weights, shifts, strict=True)
    ]


def _each(function: Callable[[int], int], planes: Planes) -> Planes:
    return [[[function(x) for x in row] for row in plane] for plane in planes]


def _flat(planes: Planes) -> list[int]:
    return [x for plane in planes for row in plane for x in row]
