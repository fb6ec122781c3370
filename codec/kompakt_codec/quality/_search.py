"""The search over rate levels: what to try, not how."""

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


class LevelSearch:
    """Which rate levels to try next for each of many images, given which have passed so far.

    Bisection over the levels, all images in step. It looks for the finest level that passes, or the
    coarsest; where those that pass are no single run from the other end, it finds one of them. Only
    for images of which none has passed are all the others tried too, if it is ``thorough``.
    """

    def __init__(self, count: int, levels: int, *, finest: bool, thorough: bool = True) -> None:
        self.chosen: Integers = np.full(count, -1)
        """The best level of each image that has passed; -1 as long as none has."""
        self._finest, self._thorough = finest, thorough
        self._low: Integers = np.zeros(count, np.int64)
        self._high: Integers = np.full(count, levels)
        self._tried = np.zeros((count, levels), np.bool_)

    def next(self) -> tuple[Integers, Integers]:
        """Images and, of each, a level to try. Empty at the end."""
        images = np.flatnonzero(self._low < self._high)
        if len(images):
            return images, (self._low + self._high)[images] // 2
        failed = np.flatnonzero(self.chosen < (0 if self._thorough else -1))
        untried = ~self._tried[failed]
        rows = np.flatnonzero(untried.any(1))  # one level at a time bounds the memory
        return failed[rows], untried[rows].argmax(1)

    def tell(self, images: Integers, levels: Integers, passed: npt.NDArray[np.bool_]) -> None:
        """Say which of the trials that ``next`` named have passed."""
        self._tried[images, levels] = True
        upwards = passed == self._finest
        np.maximum.at(self._low, images[upwards], levels[upwards] + 1)
        np.minimum.at(self._high, images[~upwards], levels[~upwards])
        for image, level in zip(images[passed], levels[passed], strict=True):
            if self.chosen[image] < 0 or (level > self.chosen[image]) == self._finest:
                self.chosen[image] = level
