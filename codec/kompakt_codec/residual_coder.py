"""Codes whole numbers given a mean and a scale each, with integer tables made once.

Means and log-scales come in units of 2**-8 from exact integer networks. They are put on a grid: 65
scales and 16 fractions of a mean. The table of each pair holds the discretised logistic around it;
its ends stand for all that lies beyond, which an Exp-Golomb code then tells (Teuhola 1978).
docs/format.md, "Hyperprior payload", is the specification.
"""

from collections.abc import Iterator
from typing import NamedTuple

import constriction
import numpy as np
import numpy.typing as npt

from kompakt_codec.integer import PARAMETER_BITS, Floats, Integers, Lookup

MIN_LOG_SCALE = -1024
SCALE_STEP = 32
NUM_SCALES = 65
FRACTIONS = 16
MAX_SYMBOL = 1023
_REACHES = (2, 4, 8, 16, 32, 64, 256)
"""How far from the mean's whole part the tables of each class go: 8 scales, but for the last."""
_CLASS_ENDS = (21, 27, 33, 38, 44, 49, NUM_SCALES)
"""The scale after the last of each class."""
_MAX_ESCAPE_BITS = 11
_MAX_GATHERED = 1 << 15
"""Frequencies of so many tables at most are copied together: 256 KiB."""
_BIT = constriction.stream.model.Categorical(np.full(2, float((1 << 23) - 1)), perfect=False)
_FAMILY = constriction.stream.model.Categorical(perfect=False)


class _Places(NamedTuple):
    """Where the numbers of one class stand among all, in coding order, and their tables' rows."""

    number: int
    positions: npt.NDArray[np.intp]
    rows: Integers

    @property
    def reach(self) -> int:
        return _REACHES[self.number]


class ResidualTables:
    """The tables of all scales and fractions, from a checkpoint's lookup tables."""

    def __init__(self, lookup: Lookup) -> None:
        self._tables: list[Floats] = []
        start = 0
        for reach, end in zip(_REACHES, _CLASS_ENDS, strict=True):
            parameters = _grid(start, end).reshape(-1, 1, 3)
            self._tables.append(lookup.mixture_weights(parameters, -reach, 2 * reach + 1))
            start = end
        self._models = [
            [constriction.stream.model.Categorical(row, perfect=False) for row in table]
            for table in self._tables
        ]

    def encode(
        self,
        encoder: constriction.stream.queue.RangeEncoder,
        symbols: Integers,
        means: Integers,
        scales: Integers,
    ) -> None:
        """Code symbols (n,) with means and log-scales (n,), in units of 2**-8."""
        whole = _whole(means)
        for places in _places(means, scales):
            reach = places.reach
            rest = symbols[places.positions] - whole[places.positions]
            indices = (np.clip(rest, -reach, reach) + reach).astype(np.int32)
            if self._is_short(places):
                encoder.encode(indices, _FAMILY, self._tables[places.number][places.rows])
            else:
                for row, run in _runs(places.rows):
                    encoder.encode(indices[run], self._models[places.number][row])
            for beyond in np.abs(rest[np.abs(rest) >= reach]) - reach:
                _encode_escape(encoder, int(beyond))

    def decode(
        self,
        decoder: constriction.stream.queue.RangeDecoder,
        means: Integers,
        scales: Integers,
    ) -> Integers:
        """The inverse of ``encode``.

        Raises ValueError for an escape beyond all symbols, AssertionError (constriction's) for a
        number outside every symbol.
        """
        symbols = _whole(means)
        for places in _places(means, scales):
            rest = self._take(decoder, places).astype(np.int64) - places.reach
            for i in np.flatnonzero(np.abs(rest) == places.reach):
                rest[i] += np.sign(rest[i]) * _decode_escape(decoder)
            symbols[places.positions] += rest
        if len(symbols) and np.abs(symbols).max() > MAX_SYMBOL:
            raise ValueError("a symbol beyond the largest")
        return symbols

    def _take(
        self, decoder: constriction.stream.queue.RangeDecoder, places: _Places
    ) -> npt.NDArray[np.int32]:
        if self._is_short(places):
            table = self._tables[places.number][places.rows]
            return decoder.decode(_FAMILY, table)  # type: ignore[no-any-return]
        indices = np.empty(len(places.rows), np.int32)
        for row, run in _runs(places.rows):
            model = self._models[places.number][row]
            indices[run] = decoder.decode(model, run.stop - run.start)
        return indices

    def _is_short(self, places: _Places) -> bool:
        """Whether one call with a table for each number beats one call for each table."""
        return len(places.rows) * (2 * places.reach + 1) <= _MAX_GATHERED


def _places(means: Integers, scales: Integers) -> Iterator[_Places]:
    """The classes that occur, each in the order of its tables, and of places for equal ones."""
    index = (scales - MIN_LOG_SCALE + SCALE_STEP // 2) // SCALE_STEP
    index = np.clip(index, 0, NUM_SCALES - 1)
    fraction = ((means + (1 << (PARAMETER_BITS - 1))) & ((1 << PARAMETER_BITS) - 1)) >> 4
    rows = index * FRACTIONS + fraction
    order = np.argsort(rows, kind="stable")
    ends = np.searchsorted(rows[order], np.array(_CLASS_ENDS) * FRACTIONS)
    start, first = 0, 0
    for number, (stop, end) in enumerate(zip(ends.tolist(), _CLASS_ENDS, strict=True)):
        if stop > start:
            positions = order[start:stop]
            yield _Places(number, positions, rows[positions] - first * FRACTIONS)
        start, first = stop, end


def _runs(rows: Integers) -> Iterator[tuple[int, slice]]:
    """Each row that occurs in sorted rows (n,), and where."""
    values, starts = np.unique(rows, return_index=True)
    stops = [*starts[1:].tolist(), len(rows)]
    for row, start, stop in zip(values.tolist(), starts.tolist(), stops, strict=True):
        yield row, slice(start, stop)


def _grid(start: int, end: int) -> Integers:
    """Logit, mean and log-scale (scales, fractions, 3) of the scales from start to end."""
    log_scales = MIN_LOG_SCALE + SCALE_STEP * np.arange(start, end, dtype=np.int64)
    half = 1 << (PARAMETER_BITS - 1)
    fractions = ((2 * np.arange(FRACTIONS, dtype=np.int64) + 1) * half) // FRACTIONS - half
    log_scale, mean = np.meshgrid(log_scales, fractions, indexing="ij")
    return np.stack([np.zeros_like(mean), mean, log_scale], axis=-1)


def _whole(means: Integers) -> Integers:
    return (means + (1 << (PARAMETER_BITS - 1))) >> PARAMETER_BITS


def _encode_escape(encoder: constriction.stream.queue.RangeEncoder, beyond: int) -> None:
    value = beyond + 1
    length = value.bit_length()
    ones = [1] * (length - 1)
    low = [value >> i & 1 for i in reversed(range(length - 1))]
    for bit in (*ones, 0, *low):
        encoder.encode(bit, _BIT)


def _decode_escape(decoder: constriction.stream.queue.RangeDecoder) -> int:
    length = 1
    while decoder.decode(_BIT):
        length += 1
        if length > _MAX_ESCAPE_BITS:
            raise ValueError("an escape beyond the largest symbol")
    value = 1
    for _ in range(length - 1):
        value = value << 1 | decoder.decode(_BIT)
    return value - 1
