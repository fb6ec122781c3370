"""The search over rate levels: what to try, not how."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_GUIDED = 4
"""Trials after which a guide that has led nowhere is not followed."""


class LevelSearch:
    """Which rate levels to try next for each of many images, given which have passed so far.

    Bisection over the levels, all images in step. It looks for the finest level that passes, or the
    coarsest; where those that pass are no single run from the other end, it finds one of them. Only
    for images of which none has passed are all the others tried too, if they are ``thorough``.

    A ``guide`` (count, levels) tells by how much each level is expected to miss the demand, in any
    unit; what is not above 0 is expected to pass. Then the first trials are where it is met.
    """

    def __init__(
        self,
        count: int,
        levels: int,
        *,
        finest: bool,
        thorough: bool | Sequence[bool] = True,
        guide: Floats | None = None,
    ) -> None:
        self.chosen: Integers = np.full(count, -1)
        """The best level of each image that has passed; -1 as long as none has."""
        self._finest = finest
        self._thorough = np.broadcast_to(np.asarray(thorough), count)
        self._low: Integers = np.zeros(count, np.int64)
        self._high: Integers = np.full(count, levels)
        self._tried = np.zeros((count, levels), np.bool_)
        self._guide = None if guide is None else guide.copy()

    def next(self) -> tuple[Integers, Integers]:
        """Images and, of each, a level to try. Empty at the end."""
        images = np.flatnonzero(self._low < self._high)
        if len(images):
            return images, self._positions(images)
        failed = np.flatnonzero((self.chosen < 0) & self._thorough)
        untried = ~self._tried[failed]
        rows = np.flatnonzero(untried.any(1))  # one level at a time bounds the memory
        return failed[rows], untried[rows].argmax(1)

    def _positions(self, images: Integers) -> Integers:
        low, high = self._low[images], self._high[images]
        middle = (low + high) // 2
        if self._guide is None:
            return middle
        levels = np.arange(self._guide.shape[1])
        inside = (low[:, None] <= levels) & (levels < high[:, None])
        passing = inside & (self._guide[images] <= 0)
        # Where none is expected to pass, the likeliest.
        passing[np.arange(len(images)), low if self._finest else high - 1] |= ~passing.any(1)
        ahead = passing[:, ::-1] if self._finest else passing
        found = ahead.argmax(1)
        guess = len(levels) - 1 - found if self._finest else found
        return np.where(self._tried[images].sum(1) < _GUIDED, guess, middle)

    def tell(
        self,
        images: Integers,
        levels: Integers,
        passed: npt.NDArray[np.bool_],
        misses: Floats | None = None,
    ) -> None:
        """Say which of the trials that ``next`` named have passed, and with a guide by how much."""
        self._tried[images, levels] = True
        if self._guide is not None and misses is not None:
            self._guide[images] += (misses - self._guide[images, levels])[:, None]
        upwards = passed == self._finest
        np.maximum.at(self._low, images[upwards], levels[upwards] + 1)
        np.minimum.at(self._high, images[~upwards], levels[~upwards])
        for image, level in zip(images[passed], levels[passed], strict=True):
            if self.chosen[image] < 0 or (level > self.chosen[image]) == self._finest:
                self.chosen[image] = level
