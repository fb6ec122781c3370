"""The compiled loop of the context model's coder: network, mixture and range coder, in step.

Every number is an integer, the network's in float64, as in ``integer``: exact in any order.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kompakt_codec.integer import (
    ACTIVATION_BITS,
    ACTIVATION_LIMIT,
    CDF_BITS,
    EXP_OFFSET,
    INVERSE_BITS,
    LEAST_SHARE,
    LOG_SCALE_LIMIT,
    PARAMETER_BITS,
    SIGMOID_BITS,
    SIGMOID_REACH,
    SLOPE,
    WEIGHT_BITS,
    Floats,
    Integers,
)
from kompakt_codec.jit import kernel
from kompakt_codec.range_coder import PRECISION, States, Words, peek, put, skip
from kompakt_codec.trellis import next_state

_LANES = 16
"""Images that a loop computes side by side: a few of the processor's vectors."""
_SUM_SHIFT = WEIGHT_BITS + ACTIVATION_BITS - PARAMETER_BITS
_STEP_SHIFT = INVERSE_BITS + PARAMETER_BITS - SIGMOID_BITS

Table = npt.NDArray[np.int32]


class Layer(NamedTuple):
    """A layer of the network: weights (out, in) and shifts (levels, out), whole numbers."""

    weight: Floats
    shifts: Floats


class Network(NamedTuple):
    """Three layers, the largest index and the quantiser of each level, the mixtures' tables."""

    first: Layer
    second: Layer
    last: Layer
    max_symbols: Integers
    dependent: npt.NDArray[np.bool_]
    step: int
    exp: Table
    sigmoid: Table


@kernel
def code(
    states: States,
    words: Words,
    symbols: npt.NDArray[np.int16],
    levels: Integers,
    decoding: bool,
    net: Network,
) -> npt.NDArray[np.bool_]:
    """Code symbols (N, latents) or, decoding, fill them in; which streams (N,) cannot be."""
    latents, hidden = symbols.shape[1], len(net.first.weight)
    units, outputs = hidden // latents, len(net.last.weight) // latents
    failed = np.zeros(len(symbols), np.bool_)
    mixture = np.zeros((3, outputs // 3), np.int64)
    trellis, index = np.zeros(_LANES, np.int64), 0
    y, sums = np.zeros((latents, _LANES)), np.zeros((outputs, _LANES))
    h1, h2 = np.zeros((hidden, _LANES)), np.zeros((hidden, _LANES))
    for start in range(0, len(symbols), _LANES):
        q = levels[start : start + _LANES]
        trellis[:] = 0
        for i in range(latents):
            upto = (i + 1) * units
            for unit in range(i * units, upto):
                _sum(h1[unit], net.first, unit, y, i, q)
                _activate(h1[unit], WEIGHT_BITS - ACTIVATION_BITS)
            for unit in range(i * units, upto):
                _sum(h2[unit], net.second, unit, h1, upto, q)
                _activate(h2[unit], WEIGHT_BITS)
            for k in range(outputs):
                _sum(sums[k], net.last, i * outputs + k, h2, upto, q)
            for lane in range(len(q)):
                stream, most = start + lane, net.max_symbols[q[lane]]
                _set_mixture(mixture, sums[:, lane], net.exp)
                odd = trellis[lane] & 1
                if not decoding:
                    symbol = int(symbols[stream, i])
                    index = (symbol - odd) // net.step
                    failed[stream] |= index * net.step + odd != symbol or abs(index) > most
                    index = min(max(index, -most), most)
                    _put(states[stream], words[stream], index, most, odd, mixture, net.sigmoid)
                elif not failed[stream]:
                    index = _take(states[stream], words[stream], most, odd, mixture, net.sigmoid)
                    failed[stream] = index > most
                    symbols[stream, i] = index * net.step + odd
                if net.dependent[q[lane]]:
                    trellis[lane] = next_state(trellis[lane], index)
                y[i, lane] = symbols[stream, i]
    return failed


@kernel
def _sum(out: Floats, layer: Layer, row: int, x: Floats, count: int, q: Integers) -> None:
    """The sums of one row of a layer over the first ``count`` of its inputs, in all lanes."""
    for lane in range(len(q)):
        out[lane] = layer.shifts[q[lane], row]
    for j in range(count):
        weight = layer.weight[row, j]
        for lane in range(_LANES):
            out[lane] += weight * x[j, lane]


@kernel
def _activate(x: Floats, bits: int) -> None:
    half, scale = 0.5 * (1 << bits), 1.0 / (1 << bits)
    for lane in range(_LANES):
        value = np.floor((x[lane] + half) * scale)
        value = max(value, np.floor(value * SLOPE))
        x[lane] = min(max(value, -float(ACTIVATION_LIMIT)), float(ACTIVATION_LIMIT))


@kernel
def _set_mixture(mixture: Integers, sums: Floats, exp: Table) -> None:
    """Shares, means and inverse scales (3, components) of one stream's mixture of logistics."""
    half, scale = 0.5 * (1 << _SUM_SHIFT), 1.0 / (1 << _SUM_SHIFT)
    top = np.int64(-(1 << 62))
    for k in range(mixture.shape[1]):
        for kind in range(3):
            mixture[kind, k] = np.int64(np.floor((sums[3 * k + kind] + half) * scale))
        top = max(top, mixture[0, k])
    for k in range(mixture.shape[1]):
        behind = min(top - mixture[0, k], LEAST_SHARE)
        log_scale = min(max(mixture[2, k], -LOG_SCALE_LIMIT), LOG_SCALE_LIMIT)
        mixture[0, k] = exp[behind + EXP_OFFSET]
        mixture[2, k] = exp[log_scale + EXP_OFFSET]


@kernel
def _cumulative(index: int, most: int, odd: int, mixture: Integers, sigmoid: Table) -> int:
    """The frequency of all indices below one, from -most to most + 1.

    The quantiser of ``odd`` symbols, 0 or 1, has all of its steps half of one further up.
    """
    length = 2 * most + 1
    if index == -most:
        return 0
    if index > most:
        return 1 << PRECISION
    edge = (2 * index - 1 + odd) << (PARAMETER_BITS - 1)
    mass, total = 0, 0
    for k in range(mixture.shape[1]):
        place = (((edge - mixture[1, k]) * mixture[2, k]) >> _STEP_SHIFT) + SIGMOID_REACH
        place = min(max(place, 0), 2 * SIGMOID_REACH - 1)
        mass += mixture[0, k] * sigmoid[place]
        total += mixture[0, k]
    cell = ((mass // total) * ((1 << PRECISION) - length)) >> CDF_BITS
    return cell + index + most


@kernel
def _put(
    state: npt.NDArray[np.uint64],
    words: Words,
    index: int,
    most: int,
    odd: int,
    mixture: Integers,
    sigmoid: Table,
) -> None:
    left = _cumulative(index, most, odd, mixture, sigmoid)
    right = _cumulative(index + 1, most, odd, mixture, sigmoid)
    put(state, words, np.uint64(left), np.uint64(right - left))


@kernel
def _take(
    state: npt.NDArray[np.uint64],
    words: Words,
    most: int,
    odd: int,
    mixture: Integers,
    sigmoid: Table,
) -> int:
    """The next index, or one above ``most`` for none."""
    target = np.int64(peek(state))
    if target >= 1 << PRECISION:
        return most + 1
    low, high = -most, most + 1
    left, right = 0, 1 << PRECISION
    while high - low > 1:
        middle = (low + high) >> 1
        value = _cumulative(middle, most, odd, mixture, sigmoid)
        if target >= value:
            low, left = middle, value
        else:
            high, right = middle, value
    skip(state, words, np.uint64(left), np.uint64(right - left))
    return low
