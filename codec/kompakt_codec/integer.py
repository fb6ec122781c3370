"""Exact arithmetic for networks that choose probabilities (docs/determinism.md).

Every number is an integer, held in float64 where matrices are multiplied: products and sums stay
below 2**53, so they are exact in any order, on any machine, for any batch and number of threads.
What is not linear is looked up in integer tables that stand in the checkpoint.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kompakt_codec.errors import CheckpointError
from kompakt_codec.jit import kernel
from kompakt_codec.range_coder import PRECISION

WEIGHT_BITS = 12
ACTIVATION_BITS = 10
PARAMETER_BITS = 8
SIGMOID_BITS = 7
CDF_BITS = 20
INVERSE_BITS = 16
SLOPE = 1 / 8
ACTIVATION_LIMIT = 64 << ACTIVATION_BITS
LOG_SCALE_LIMIT = 4 << PARAMETER_BITS
EXP_OFFSET = 4 << PARAMETER_BITS
"""Where the table of exp has 1."""
LEAST_SHARE = (8 << PARAMETER_BITS) - 1
"""A component's share is no less than exp of minus this."""
_EXP_LENGTH = EXP_OFFSET + LEAST_SHARE + 1
SIGMOID_REACH = 16 << SIGMOID_BITS
_EXACT = 2.0**53

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def round_shift(x: Floats, bits: int) -> Floats:
    """X / 2**bits for whole numbers x, rounded to the nearest, halves up: exact."""
    return np.floor((x + 0.5 * (1 << bits)) * (1.0 / (1 << bits)))


def rectify(x: Floats, bits: int) -> Floats:
    """``round_shift``, then the leaky rectifier of slope 1/8, rounded down, within the limit."""
    made = np.empty(x.shape)
    _rectify(
        np.ascontiguousarray(x).reshape(-1), 0.5 * (1 << bits), 1.0 / (1 << bits), made.reshape(-1)
    )
    return made


@kernel
def _rectify(x: Floats, half: float, factor: float, made: Floats) -> None:
    for i in range(len(x)):
        value = np.floor((x[i] + half) * factor)
        leaky = max(value, np.floor(value * SLOPE))
        made[i] = min(max(leaky, -ACTIVATION_LIMIT), ACTIVATION_LIMIT)


def check_exact(weight: Floats, shifts: Floats, largest_input: float) -> None:
    """Raise CheckpointError if a layer's sums could leave the integers that float64 holds."""
    worst = np.abs(weight).sum(1).max() * largest_input + np.abs(shifts).max()
    if not worst < _EXACT / 4:
        raise CheckpointError("the entropy network's weights are too large to be exact")


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """The two functions that are not linear, as integer tables.

    ``exp`` int32 (3072,): 2**16 * exp(-x) for x from -4 in steps of 2**-8. ``sigmoid`` int32
    (4096,): 2**20 * sigmoid(x) for x from -16 in steps of 2**-7. Raises CheckpointError unless
    both are positive (from 0 for sigmoid) and monotone.
    """

    exp: npt.NDArray[np.int32]
    sigmoid: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        if self.exp.shape != (_EXP_LENGTH,) or self.sigmoid.shape != (2 * SIGMOID_REACH,):
            raise CheckpointError("the lookup tables have other lengths")
        exp, sigmoid = self.exp.astype(np.int64), self.sigmoid.astype(np.int64)
        if exp.min() < 1 or exp.max() >= 1 << 23 or (np.diff(exp) > 0).any():
            raise CheckpointError("the table of exp must fall and be positive")
        if sigmoid.min() < 0 or sigmoid.max() > 1 << CDF_BITS or (np.diff(sigmoid) < 0).any():
            raise CheckpointError("the table of sigmoid must rise from 0 to 2**20")

    @classmethod
    def make(cls) -> "Lookup":
        """The tables for a new checkpoint; from there on they are data, never computed again."""
        x = np.arange(_EXP_LENGTH) / (1 << PARAMETER_BITS) - 4
        t = np.arange(-SIGMOID_REACH, SIGMOID_REACH) / (1 << SIGMOID_BITS)
        exp = np.rint(np.exp(-x) * (1 << INVERSE_BITS)).astype(np.int32)
        sigmoid = np.rint((1 << CDF_BITS) / (1 + np.exp(-t))).astype(np.int32)
        return cls(exp=exp, sigmoid=sigmoid)

    def mixture_weights(self, parameters: Integers, minimum: int, length: int) -> Floats:
        """Range-coder weights (n, length), float64, of mixtures of discretised logistics.

        ``parameters`` (n, components, 3) are logits, means and log-scales in units of 2**-8.
        A row holds frequencies - 1 of the symbols from ``minimum`` on; with 1 for each symbol the
        frequencies have the sum 2**24 (see ``entropy``).
        """
        logits, means, log_scales = (parameters[..., i] for i in range(3))
        behind = np.minimum(logits.max(1, keepdims=True) - logits, LEAST_SHARE)
        share = self.exp[behind + EXP_OFFSET].astype(np.int64)
        scale_index = np.clip(log_scales, -LOG_SCALE_LIMIT, LOG_SCALE_LIMIT) + EXP_OFFSET
        inverse = self.exp[scale_index].astype(np.int64)
        edges = (2 * np.arange(minimum, minimum + length - 1, dtype=np.int64) + 1) << (
            PARAMETER_BITS - 1
        )
        distance = edges[None, :, None] - means[:, None, :]
        shift = INVERSE_BITS + PARAMETER_BITS - SIGMOID_BITS
        steps = (distance * inverse[:, None, :]) >> shift
        index = np.clip(steps + SIGMOID_REACH, 0, 2 * SIGMOID_REACH - 1)
        mass = (self.sigmoid[index] * share[:, None, :]).sum(2)
        cdf = mass // share.sum(1)[:, None]
        cells = np.empty((len(cdf), length + 1), np.int64)
        cells[:, 0] = 0
        cells[:, 1:-1] = (cdf * ((1 << PRECISION) - length)) >> CDF_BITS
        cells[:, -1] = (1 << PRECISION) - length
        return np.diff(cells, axis=1).astype(np.float64)
