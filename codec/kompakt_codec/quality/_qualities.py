"""Which qualities of a classical codec to try, given what those before came to."""

import bisect
import math
from collections.abc import Callable

Tried = Callable[[int], tuple[int, float]]
"""From a quality to the size of a codec's payload there, or a little less, and its MSE."""
QUALITIES = range(101)
MARGIN = 1.05
"""How clearly a trial has to fail before its neighbours are not looked at: size and distortion do
not strictly follow quality."""
_LEAST_SLOPE = 0.01
"""By how much log(MSE) falls at least from one quality to the next, taken roughly."""
_CLOSE = 0.05
"""How near to the aim in log(MSE) a trial is to count as near."""


class Secants:
    """The quality of an aimed MSE, by secants through the logarithm of what others have."""

    def __init__(self, aim: float, *, start: int, slope: float = 0.02) -> None:
        self.quality, self.slope = start, slope
        """What to try next, and by how much log(MSE) falls from one quality to the next."""
        self.trials = 0
        self.is_near = False
        """Whether the last trial's MSE was about the aim."""
        self._aim = aim
        self._coarse: tuple[int, float] | None = None
        self._fine: tuple[int, float] | None = None

    def tell(self, error: float) -> None:
        """Take the MSE of ``quality``."""
        excess = math.log(max(error / self._aim, 1e-3))
        self.trials += 1
        self.is_near = abs(excess) < _CLOSE
        if excess > 0:
            self._coarse = self.quality, excess
        else:
            self._fine = self.quality, excess
        if self._coarse is not None and self._fine is not None:
            (low, above), (high, below) = self._coarse, self._fine
            self.slope = max((above - below) / max(high - low, 1), _LEAST_SLOPE)
        shift = round(excess / self.slope)
        if not shift and excess < 0:  # a little too good: the aim is to be missed
            shift = -1
        self.quality = min(max(self.quality + shift, QUALITIES[0]), QUALITIES[-1])


def finest_within(tried: Tried, limit: int) -> int:
    """The last quality at which a codec's payload is shorter than a limit, -1 for none."""
    return bisect.bisect_left(QUALITIES, limit, key=lambda quality: tried(quality)[0]) - 1


def may_win(tried: Tried, limit: int, max_mse: float) -> bool:
    """Whether a codec may have a payload shorter than a limit within a bound on the MSE."""
    low, high, quality = 0, QUALITIES[-1], 0
    while low <= high:
        size, error = tried(quality)
        too_large, too_bad = size >= limit * MARGIN, error > max_mse * MARGIN
        if too_large and (too_bad or quality == 0):
            return False
        if size < limit and error <= max_mse:
            return True
        low, high = (quality + 1, high) if error > max_mse else (low, quality - 1)
        quality = (low + high) // 2
    return True
