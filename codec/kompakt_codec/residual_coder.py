"""Codes whole numbers given a mean and a scale each, with integer tables made once.

Means and log-scales come in units of 2**-8 from exact integer networks. They are put on a grid: 65
scales and 16 fractions of a mean. The table of each pair holds the discretised logistic around it;
its ends stand for all that lies beyond, which an Exp-Golomb code then tells (Teuhola 1978).
docs/format.md, "Hyperprior payload", is the specification.
"""

import numpy as np
import numpy.typing as npt

from kompakt_codec.integer import PARAMETER_BITS, Integers, Lookup
from kompakt_codec.jit import kernel
from kompakt_codec.range_coder import (
    RangeDecoders,
    RangeEncoders,
    States,
    Words,
    find_all,
    peek,
    put,
    put_all,
    skip,
)

MIN_LOG_SCALE = -1024
SCALE_STEP = 32
NUM_SCALES = 65
FRACTIONS = 16
MAX_SYMBOL = 1023
MOST_BITS = 45
"""A symbol takes at most 24 bits and an escape of 21."""
_REACHES = (2, 4, 8, 16, 32, 64, 256)
"""How far from the mean's whole part the tables of each class go: 8 scales, but for the last."""
_CLASS_ENDS = (21, 27, 33, 38, 44, 49, NUM_SCALES)
"""The scale after the last of each class."""
_NUM_ROWS = NUM_SCALES * FRACTIONS
_MAX_ESCAPE_BITS = 11
_HALF_UNIT = 1 << (PARAMETER_BITS - 1)
_FRACTION_SHIFT = 4
_HALF = np.uint64(1 << 23)
_NO_BITS = np.uint64(0)

Numbers = npt.NDArray[np.int32]


class ResidualTables:
    """The tables of all scales and fractions, from a checkpoint's lookup tables."""

    def __init__(self, lookup: Lookup) -> None:
        sums, starts, reaches = [], [], []
        start, position = 0, 0
        for reach, end in zip(_REACHES, _CLASS_ENDS, strict=True):
            parameters = _grid(start, end).reshape(-1, 1, 3)
            table = lookup.mixture_weights(parameters, -reach, 2 * reach + 1).astype(np.int64) + 1
            cumulative = np.pad(np.cumsum(table, axis=1), ((0, 0), (1, 0)))
            sums.append(cumulative.ravel())
            starts += [position + cumulative.shape[1] * row for row in range(len(table))]
            reaches += [reach] * len(table)
            start, position = end, position + cumulative.size
        self._cumulative = np.concatenate(sums).astype(np.uint32)
        self._starts, self._reaches = np.array(starts, np.int64), np.array(reaches, np.int64)

    def encode(
        self, encoders: RangeEncoders, symbols: Numbers, means: Numbers, scales: Numbers
    ) -> None:
        """Code symbols (N, n) with means and log-scales (N, n), in units of 2**-8."""
        tables = self._cumulative, self._starts, self._reaches
        _encode(encoders.states, encoders.words, symbols, means, scales, *tables)

    def decode(
        self,
        decoders: RangeDecoders,
        means: Numbers,
        scales: Numbers,
        failed: npt.NDArray[np.bool_],
    ) -> Numbers:
        """The inverse of ``encode``: symbols (N, n).

        Streams in ``failed`` (N,) are left alone, and those that hold none of -1023 to 1023 noted.
        """
        symbols = np.zeros(means.shape, np.int32)
        tables = self._cumulative, self._starts, self._reaches
        _decode(decoders.states, decoders.words, symbols, means, scales, failed, *tables)
        return symbols


@kernel
def _encode(
    states: States,
    words: Words,
    symbols: Numbers,
    means: Numbers,
    scales: Numbers,
    cumulative: npt.NDArray[np.uint32],
    starts: Integers,
    reaches: Integers,
) -> None:
    order, rests = np.empty(means.shape[1], np.int32), np.empty(means.shape[1], np.int32)
    ends, beyond = np.empty(_NUM_ROWS + 1, np.int64), np.empty(means.shape[1], np.int32)
    lefts = np.empty(means.shape[1], np.uint32)
    frequencies = np.empty(means.shape[1], np.uint32)
    for i in range(len(means)):
        state, row_words = states[i], words[i]
        _arrange(means[i], scales[i], order, ends)
        for position in range(len(order)):
            k = order[position]
            rests[position] = symbols[i, k] - _whole(means[i, k])
        first, row = 0, 0
        while row < _NUM_ROWS:
            reach, escapes, begun = reaches[row], 0, first
            while row < _NUM_ROWS and reaches[row] == reach:
                middle = starts[row] + reach
                for position in range(first, ends[row]):
                    rest = rests[position]
                    if abs(rest) >= reach:
                        beyond[escapes] = abs(rest) - reach
                        escapes += 1
                        rest = min(max(rest, -reach), reach)
                    left = cumulative[middle + rest]
                    lefts[position] = left
                    frequencies[position] = cumulative[middle + rest + 1] - left
                first = ends[row]
                row += 1
            put_all(state, row_words, lefts[begun:first], frequencies[begun:first])
            for position in range(escapes):
                put_escape(state, row_words, beyond[position])


@kernel
def _decode(
    states: States,
    words: Words,
    symbols: Numbers,
    means: Numbers,
    scales: Numbers,
    failed: npt.NDArray[np.bool_],
    cumulative: npt.NDArray[np.uint32],
    starts: Integers,
    reaches: Integers,
) -> None:
    order, rests = np.empty(means.shape[1], np.int32), np.empty(means.shape[1], np.int32)
    ends, escaped = np.empty(_NUM_ROWS + 1, np.int64), np.empty(means.shape[1], np.int32)
    for i in range(len(means)):
        state, row_words = states[i], words[i]
        if failed[i]:
            continue
        _arrange(means[i], scales[i], order, ends)
        first, row = 0, 0
        while row < _NUM_ROWS and not failed[i]:
            reach, escapes = reaches[row], 0
            while row < _NUM_ROWS and reaches[row] == reach and not failed[i]:
                middle = starts[row] + reach
                run = rests[first : ends[row]]
                if len(run) and not find_all(state, row_words, cumulative, middle, reach, run):
                    failed[i] = True
                    break
                for position in range(first, ends[row]):
                    k, rest = order[position], rests[position]
                    symbols[i, k] = rest + _whole(means[i, k])
                    if abs(rest) == reach:
                        escaped[escapes] = k if rest > 0 else ~k
                        escapes += 1
                first = ends[row]
                row += 1
            if not failed[i]:
                failed[i] = not _take_escapes(state, row_words, escaped[:escapes], symbols[i])
        failed[i] |= (np.abs(symbols[i]) > MAX_SYMBOL).any()


@kernel
def _take_escapes(
    state: npt.NDArray[np.uint64], words: Words, escaped: Numbers, symbols: Numbers
) -> bool:
    """Add how far symbols lie beyond their tables; below them if their places are inverted."""
    for k in escaped:
        beyond = take_escape(state, words)
        if beyond < 0:
            return False
        if k >= 0:
            symbols[k] += beyond
        else:
            symbols[~k] -= beyond
    return True


@kernel
def _arrange(means: Numbers, scales: Numbers, order: Numbers, ends: Integers) -> None:
    """The numbers' order by their rows of the tables, and where each row ends: a counting sort."""
    rows = np.empty(len(means), np.int16)
    ends[:] = 0
    for k in range(len(means)):
        scale = (scales[k] - MIN_LOG_SCALE + SCALE_STEP // 2) // SCALE_STEP
        fraction = ((means[k] + _HALF_UNIT) & (2 * _HALF_UNIT - 1)) >> _FRACTION_SHIFT
        row = min(max(scale, 0), NUM_SCALES - 1) * FRACTIONS + fraction
        rows[k] = row
        ends[row + 1] += 1
    for row in range(_NUM_ROWS):
        ends[row + 1] += ends[row]
    for k in range(len(means)):
        order[ends[rows[k]]] = k
        ends[rows[k]] += 1


@kernel
def _whole(mean: int) -> int:
    return (mean + _HALF_UNIT) >> PARAMETER_BITS


@kernel
def put_escape(state: npt.NDArray[np.uint64], words: Words, beyond: int) -> None:
    """Code how far beyond its table a symbol is, from 0 on."""
    value, length = beyond + 1, 0
    while value >> (length + 1):
        length += 1
    for _ in range(length):
        put(state, words, _HALF, _HALF)
    put(state, words, _NO_BITS, _HALF)
    for k in range(length):
        put(state, words, _HALF * np.uint64((value >> (length - 1 - k)) & 1), _HALF)


@kernel
def take_escape(state: npt.NDArray[np.uint64], words: Words) -> int:
    """How far beyond its table a symbol is, or -1 if that is too far or no number."""
    length = 0
    while True:
        bit = _take_bit(state, words)
        if bit <= 0:
            break
        length += 1
        if length >= _MAX_ESCAPE_BITS:
            return -1
    value = 1
    for _ in range(length):
        if bit < 0:
            return -1
        bit = _take_bit(state, words)
        value = 2 * value + bit
    return value - 1 if bit >= 0 else -1


@kernel
def _take_bit(state: npt.NDArray[np.uint64], words: Words) -> int:
    target = peek(state)
    if target >= _HALF + _HALF:
        return -1
    bit = 1 if target >= _HALF else 0
    skip(state, words, _HALF * np.uint64(bit), _HALF)
    return bit


def _grid(start: int, end: int) -> Integers:
    """Logit, mean and log-scale (scales, fractions, 3) of the scales from start to end."""
    log_scales = MIN_LOG_SCALE + SCALE_STEP * np.arange(start, end, dtype=np.int64)
    half = 1 << (PARAMETER_BITS - 1)
    fractions = ((2 * np.arange(FRACTIONS, dtype=np.int64) + 1) * half) // FRACTIONS - half
    log_scale, mean = np.meshgrid(log_scales, fractions, indexing="ij")
    return np.stack([np.zeros_like(mean), mean, log_scale], axis=-1)
