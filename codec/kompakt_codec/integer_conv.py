"""Convolutions over whole numbers, exact in any order of summation (docs/determinism.md).

Arrays are (N, h, w, channels), float64 numbers that hold integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kompakt_codec.errors import CheckpointError
from kompakt_codec.integer import Floats, check_exact


@dataclass(frozen=True, kw_only=True)
class IntegerConv:
    """A convolution: int16 weights (out, in, k, k), int64 shifts (levels, out).

    An odd kernel has stride 1 and keeps the size, with zeros around; one of 2 has stride 2. Raises
    CheckpointError unless sums of inputs up to ``largest_input`` are exact.
    """

    weight: npt.NDArray[np.int16]
    shifts: npt.NDArray[np.int64]
    largest_input: int

    def __post_init__(self) -> None:
        if self.weight.ndim != 4 or self.weight.shape[2] != self.weight.shape[3]:
            raise CheckpointError("a convolution has weights (out, in, k, k)")
        if self.kernel not in (1, 2, 3) or self.shifts.ndim != 2:
            raise CheckpointError("a convolution has a kernel of 1 to 3 and shifts (levels, out)")
        if not len(self.shifts) or self.shifts.shape[1] != len(self.weight):
            raise CheckpointError("a convolution needs a shift for each level and output")
        if len(self.weight):
            flat = self.weight.reshape(len(self.weight), -1).astype(np.float64)
            check_exact(flat, self.shifts.astype(np.float64), float(self.largest_input))

    @property
    def kernel(self) -> int:
        """The side of the kernel."""
        return int(self.weight.shape[2])

    @cached_property
    def _taps(self) -> Floats:
        """One matrix for each place of the kernel: (k, k, in, out)."""
        return np.ascontiguousarray(self.weight.transpose(2, 3, 1, 0), np.float64)

    def __call__(self, x: Floats, levels: Sequence[int]) -> Floats:
        """Sums (N, h', w', out) of inputs (N, h, w, in), each image with its level's shifts."""
        height, width = x.shape[1:3]
        step = 2 if self.kernel == 2 else 1
        before, after = (1, 1) if self.kernel == 3 else (0, self.kernel - 1)
        if self.kernel > 1:  # matrix by matrix, which is faster than to gather what each place sees
            edges = (before, after)
            x = np.pad(x, ((0, 0), edges, edges, (0, 0)))
        shifts = self.shifts[list(levels)].astype(np.float64)[:, None, None, :]
        sums = np.zeros((len(x), -(-height // step), -(-width // step), len(self.weight)))
        for row, column in np.ndindex(self.kernel, self.kernel):
            seen = x[:, row : row + height : step, column : column + width : step]
            sums += seen @ self._taps[row, column]
        return np.add(sums, shifts, out=sums)


def shuffle(x: Floats, times: int) -> Floats:
    """Depth to space, (N, h, w, C * times**2) to (N, h * times, w * times, C).

    Channels in the order of PyTorch's ``pixel_shuffle``.
    """
    n, height, width, depth = x.shape
    channels = depth // times**2
    x = x.reshape(n, height, width, channels, times, times).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(n, height * times, width * times, channels)
