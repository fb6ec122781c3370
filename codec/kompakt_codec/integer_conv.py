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
            check_exact(self._matrix.T, self.shifts.astype(np.float64), float(self.largest_input))

    @property
    def kernel(self) -> int:
        """The side of the kernel."""
        return int(self.weight.shape[2])

    @cached_property
    def _matrix(self) -> Floats:
        return self.weight.reshape(len(self.weight), -1).T.astype(np.float64)

    def __call__(self, x: Floats, levels: Sequence[int]) -> Floats:
        """Sums (N, h', w', out) of inputs (N, h, w, in), each image with its level's shifts."""
        if self.kernel > 1:
            x = _patches(x, self.kernel)
        shifts = self.shifts[list(levels)].astype(np.float64)
        flat = x.reshape(-1, x.shape[3]) @ self._matrix
        return flat.reshape(*x.shape[:3], -1) + shifts[:, None, None, :]


def _patches(x: Floats, kernel: int) -> Floats:
    """What each place of a convolution sees: (N, h', w', in * kernel**2)."""
    height, width = x.shape[1:3]
    if kernel == 2:
        x = np.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    else:
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    seen = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(1, 2))
    if kernel == 2:
        seen = seen[:, ::2, ::2]
    return np.ascontiguousarray(seen).reshape(*seen.shape[:3], -1)


def shuffle(x: Floats, times: int) -> Floats:
    """Depth to space, (N, h, w, C * times**2) to (N, h * times, w * times, C).

    Channels in the order of PyTorch's ``pixel_shuffle``.
    """
    n, height, width, depth = x.shape
    channels = depth // times**2
    x = x.reshape(n, height, width, channels, times, times).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(n, height * times, width * times, channels)
