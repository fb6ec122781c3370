"""Convolutions over whole numbers, exact in any order of summation (docs/determinism.md).

Arrays are (N, h, w, channels), float64 numbers that hold integers. Where the inputs at hand keep
all sums below 2**24, they are multiplied in float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from kompakt_codec.entropy import Levels
from kompakt_codec.errors import CheckpointError
from kompakt_codec.frame import LEVEL_STEPS
from kompakt_codec.integer import Floats, check_exact

_EXACT_IN_FLOAT32 = 2.0**24
_GATHERED = 512
"""Places of an image whose surroundings are gathered at a time."""


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

    def __call__(
        self, x: Floats, levels: Levels, *, place: tuple[int, int] | None = None
    ) -> Floats:
        """Sums (N, h', w', out) of inputs (N, h, w, in), each image with its level's shifts.

        With ``place``, only those of every other row and column from there on.
        """
        matrix = self._narrow if self._is_narrow(x) else self._wide
        shifts = self._shifts_at(levels).astype(np.float64)[:, None, None, :]
        seen = self._windows(x.astype(matrix.dtype, copy=False), place)
        sums = np.empty((*seen.shape[:3], len(self.weight)))
        for part in _parts(seen.shape[:3]):
            rows = seen[part]
            products = rows.reshape(-1, len(matrix)) @ matrix
            np.add(products.reshape(*rows.shape[:3], -1), shifts[part[0]], out=sums[part])
        return sums

    def _shifts_at(self, levels: Levels) -> npt.NDArray[np.int64]:
        """(N, out). Between two levels a weighted mean of theirs, rounded down."""
        steps = np.array([int(level * LEVEL_STEPS) for level in levels])
        below, part = np.divmod(steps[:, None], LEVEL_STEPS)
        above = np.minimum(below + 1, len(self.shifts) - 1)
        first, second = self.shifts[below[:, 0]], self.shifts[above[:, 0]]
        mixed: npt.NDArray[np.int64] = first * (LEVEL_STEPS - part) + second * part
        return mixed // LEVEL_STEPS

    def _windows(self, x: npt.NDArray[Any], place: tuple[int, int] | None) -> npt.NDArray[Any]:
        """What each sum is of, (N, h', w', k, k, in), without a copy of it."""
        step = 2 if self.kernel == 2 or place else 1
        top, left = place or (0, 0)
        if self.kernel > 1:
            edges = (1, 1) if self.kernel == 3 else (0, 1)
            x = np.pad(x, ((0, 0), edges, edges, (0, 0)))
        seen = sliding_window_view(x, (self.kernel, self.kernel), axis=(1, 2))
        return seen[:, top::step, left::step].transpose(0, 1, 2, 4, 5, 3)

    @cached_property
    def _wide(self) -> Floats:
        """(k * k * in, out)."""
        flat = self.weight.transpose(2, 3, 1, 0).reshape(-1, len(self.weight))
        return np.ascontiguousarray(flat, np.float64)

    @cached_property
    def _narrow(self) -> npt.NDArray[np.float32]:
        return self._wide.astype(np.float32)

    @cached_property
    def _reach(self) -> float:
        """The most that an output is for inputs up to 1."""
        return float(np.abs(self._wide).sum(0).max(initial=0))

    def _is_narrow(self, x: Floats) -> bool:
        """Whether float32, which is twice as fast, holds all sums of these inputs exactly."""
        largest = max(x.max(initial=0), -x.min(initial=0))
        return float(largest) * self._reach < _EXACT_IN_FLOAT32


def _parts(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Images and rows of (N, h, w) that are gathered at a time: so many that a cache holds them."""
    count, height, width = shape
    if not height * width:
        return
    images = max(1, _GATHERED // (height * width))
    rows = height if images > 1 else max(1, _GATHERED // width)
    for first in range(0, count, images):
        for row in range(0, height, rows):
            yield slice(first, first + images), slice(row, row + rows)


def shuffle(x: Floats, times: int) -> Floats:
    """Depth to space, (N, h, w, C * times**2) to (N, h * times, w * times, C).

    Channels in the order of PyTorch's ``pixel_shuffle``.
    """
    n, height, width, depth = x.shape
    channels = depth // times**2
    x = x.reshape(n, height, width, channels, times, times).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(n, height * times, width * times, channels)
