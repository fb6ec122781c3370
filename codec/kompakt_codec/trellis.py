"""Scalar and trellis-coded quantisers of vectors of latents, and which of them a level has.

Trellis-coded quantisation (Marcellin & Fischer 1990) as video coding has it, "dependent
quantization" (Schwarz et al. 2019, "Hybrid Video Coding with Trellis-Coded Quantization"): two
scalar quantisers take turns, one with the even symbols and one with the odd, and a machine of eight
states, which the symbols before drive, says whose turn it is. The encoder looks for the nearest of
all paths. At the rate of a scalar quantiser the squared error is a fifth less.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kompakt_codec.entropy import Levels, Symbols
from kompakt_codec.jit import kernel

STATES = 8
_NEXT = np.array([[0, 2], [5, 7], [1, 3], [6, 4], [2, 0], [4, 6], [3, 1], [7, 5]])
"""The state after each state and each parity of an index: the machine of eight states of VVC's
successor (Enhanced Compression Model). Odd states have the quantiser of odd symbols."""
_FAR = 1e30


@dataclass(frozen=True, slots=True)
class Quantiser:
    """The quantiser of each level's latents: of those that are ``dependent`` the trellis-coded one.

    If any is, latents and symbols count half steps, and the symbols of the other levels are even.
    """

    dependent: tuple[bool, ...]

    @property
    def step(self) -> int:
        """Between two symbols of one scalar quantiser."""
        return 2 if any(self.dependent) else 1

    def quantise(
        self, latents: npt.NDArray[np.float32], levels: Levels, most: npt.NDArray[np.int64]
    ) -> Symbols:
        """Latents (N, n) to the nearest symbols, int16, with indices from -most (N,) to most.

        What is not a number is as the lowest one.
        """
        limit = most[:, None]
        furthest = self.step * (limit + 1)  # of numbers that are nearest to a symbol
        bounded = np.fmin(np.fmax(latents, -furthest), furthest)
        symbols = self.step * np.clip(np.rint(bounded / self.step), -limit, limit)
        rows = np.flatnonzero(np.asarray(self.dependent)[np.asarray(levels, np.int64)])
        if len(rows):
            symbols[rows] = _nearest_paths(bounded[rows].astype(np.float64), most[rows])
        return symbols.astype(np.int16)


@kernel
def next_state(state: int, index: int) -> int:
    """The machine's state after an index, in any state from 0 to 7."""
    return int(_NEXT[state, index & 1])


@kernel
def _nearest_paths(latents: npt.NDArray[np.float64], most: npt.NDArray[np.int64]) -> Symbols:
    """The symbols (N, n) of the nearest path to each row (Viterbi 1967)."""
    count, length = latents.shape
    symbols = np.zeros((count, length), np.int16)
    index = np.zeros((length, 2, 2), np.int64)
    before = np.zeros((length, STATES), np.int64)
    cost, reached = np.zeros(STATES), np.zeros(STATES)
    error = np.zeros((2, 2))
    for row in range(count):
        cost[:] = _FAR
        cost[0] = 0.0
        for i in range(length):
            for odd in range(2):
                for parity in range(2):
                    k = _nearest_index(latents[row, i], odd, parity, most[row])
                    index[i, odd, parity] = k
                    error[odd, parity] = (latents[row, i] - (2 * k + odd)) ** 2
            reached[:] = 2 * _FAR
            for state in range(STATES):
                for parity in range(2):
                    to = _NEXT[state, parity]
                    total = cost[state] + error[state & 1, parity]
                    if total < reached[to]:
                        reached[to] = total
                        before[i, to] = 2 * state + parity
            cost[:] = reached
        state = int(np.argmin(cost))
        for i in range(length - 1, -1, -1):
            parity = before[i, state] & 1
            state = before[i, state] >> 1
            symbols[row, i] = 2 * index[i, state & 1, parity] + (state & 1)
    return symbols


@kernel
def _nearest_index(latent: float, odd: int, parity: int, most: int) -> int:
    """The index of a parity whose symbol 2 k + odd is nearest to a latent near them."""
    k = 2 * int(np.rint((latent - odd - 2 * parity) / 4)) + parity
    if k > most:
        return k - 2
    return k + 2 if k < -most else k
