"""Codes whole numbers given a scale each, by tables that stand in the checkpoint.

A table holds the frequencies of -R to R; its ends stand for all that lies beyond, which an
Exp-Golomb code then tells. docs/format.md, "Gaussian payload", is the specification.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kompakt_codec.entropy import EntropyTables, frequencies_from_counts
from kompakt_codec.errors import CheckpointError
from kompakt_codec.jit import kernel
from kompakt_codec.range_coder import RangeDecoders, RangeEncoders, States, Words, find, put
from kompakt_codec.residual_coder import MAX_SYMBOL, Numbers, put_escape, take_escape

MAX_TABLES = 256
_COUNT_BITS = 36
_TAIL = 6
"""A Gaussian's table goes so many of its scales from 0."""

Integers = npt.NDArray[np.int64]


class ScaleTables:
    """A table for each of T scales, and the T - 1 ``thresholds``, int32, between the scales.

    Raises CheckpointError if they do not fit each other.
    """

    def __init__(self, tables: EntropyTables, thresholds: npt.NDArray[np.int32]) -> None:
        lengths = np.array([len(table) for table in tables.frequencies], np.int64)
        self._reaches = -np.array(tables.minimums, np.int64)
        if not len(lengths) <= MAX_TABLES or thresholds.shape != (len(lengths) - 1,):
            raise CheckpointError(f"1 to {MAX_TABLES} tables of scales, with thresholds between")
        if (lengths != 2 * self._reaches + 1).any() or self._reaches.min() < 1:
            raise CheckpointError("a table of a scale reaches as far below 0 as above")
        if self._reaches.max() > MAX_SYMBOL:
            raise CheckpointError(f"a table of a scale reaches at most {MAX_SYMBOL} from 0")
        if (np.diff(thresholds.astype(np.int64)) <= 0).any():
            raise CheckpointError("the thresholds between scales must rise")
        self.tables, self.thresholds = tables, thresholds
        self._starts = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]]).astype(np.int64)
        sums = [np.concatenate([[0], np.cumsum(table)]) for table in tables.frequencies]
        self._cumulative = np.concatenate(sums).astype(np.uint32)

    def rows(self, scales: Integers) -> Integers:
        """Which table each scale chooses: as many as there are thresholds up to it."""
        return np.searchsorted(self.thresholds.astype(np.int64), scales, side="right")

    def encode(self, encoders: RangeEncoders, symbols: Numbers, rows: Integers) -> None:
        """Code symbols (N, n), each by its table."""
        tables = self._cumulative, self._starts, self._reaches
        _encode(encoders.states, encoders.words, symbols, rows, *tables)

    def decode(
        self, decoders: RangeDecoders, rows: Integers, failed: npt.NDArray[np.bool_]
    ) -> Numbers:
        """The inverse of ``encode``: symbols (N, n).

        Streams in ``failed`` (N,) are left alone, and those that hold none of -1023 to 1023 noted.
        """
        symbols = np.zeros(rows.shape, np.int32)
        tables = self._cumulative, self._starts, self._reaches
        _decode(decoders.states, decoders.words, symbols, rows, failed, *tables)
        return symbols


def gaussian_tables(scales: Sequence[float]) -> EntropyTables:
    """The tables of Gaussians around 0, rounded to whole numbers, for a new checkpoint.

    From there on they are data, never computed again. ``scales`` are standard deviations.
    """
    reaches = [min(MAX_SYMBOL, math.ceil(_TAIL * scale) + 1) for scale in scales]
    return EntropyTables(
        shape=(len(scales), 1, 1),
        minimums=[-reach for reach in reaches],
        frequencies=[_gaussian(*pair) for pair in zip(scales, reaches, strict=True)],
    )


def _gaussian(scale: float, reach: int) -> npt.NDArray[np.uint32]:
    # Above each edge, so that small probabilities keep their digits.
    above = [0.5 * math.erfc((k - 0.5) / (scale * math.sqrt(2))) for k in range(1, reach + 1)]
    half = [a - b for a, b in zip(above, [*above[1:], 0.0], strict=True)]
    counts = np.rint(np.array([*half[::-1], 1 - 2 * above[0], *half]) * 2.0**_COUNT_BITS)
    return frequencies_from_counts(counts.astype(np.int64))


@kernel
def _encode(
    states: States,
    words: Words,
    symbols: Numbers,
    rows: Integers,
    cumulative: npt.NDArray[np.uint32],
    starts: Integers,
    reaches: Integers,
) -> None:
    for i in range(len(rows)):
        for k in range(rows.shape[1]):
            reach = reaches[rows[i, k]]
            place = starts[rows[i, k]] + min(max(symbols[i, k], -reach), reach) + reach
            left = np.uint64(cumulative[place])
            put(states[i], words[i], left, np.uint64(cumulative[place + 1]) - left)
            beyond = abs(symbols[i, k]) - reach
            if beyond >= 0:
                put_escape(states[i], words[i], beyond)


@kernel
def _decode(
    states: States,
    words: Words,
    symbols: Numbers,
    rows: Integers,
    failed: npt.NDArray[np.bool_],
    cumulative: npt.NDArray[np.uint32],
    starts: Integers,
    reaches: Integers,
) -> None:
    for i in range(len(rows)):
        for k in range(rows.shape[1]):
            if failed[i]:
                break
            start, reach = starts[rows[i, k]], reaches[rows[i, k]]
            place = find(states[i], words[i], cumulative, start, 2 * reach + 1)
            failed[i] = place < 0
            symbol = max(0, place - start) - reach
            if abs(symbol) == reach and not failed[i]:
                beyond = take_escape(states[i], words[i])
                failed[i] = beyond < 0
                symbol += np.sign(symbol) * max(0, beyond)
            symbols[i, k] = symbol
            failed[i] |= abs(symbol) > MAX_SYMBOL
