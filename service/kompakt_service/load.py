"""How long what waits will take, judged by how long the like of it took."""

import time
from collections import deque
from collections.abc import Hashable

CAUTION = 0.75
"""How much of the time that a call may wait is promised: what a queue will take is a guess."""
_BATCHES = 16
"""So many of the last batches tell the pace."""
_OUTLIER = 4.0
"""How much slower than the median a batch must be to tell nothing."""
_ROUNDING_SECONDS = 1e-9


class Pace:
    """How long a pixel takes, as the last batches say.

    Not the first one, which may have compiled and allocated, and none that something else held up:
    a queue that is thought to be slow is not given the work that would prove it quick.
    """

    def __init__(self) -> None:
        self._batches: deque[tuple[float, int]] = deque(maxlen=_BATCHES)
        self._is_warm = False
        self.seconds_per_pixel = 0.0
        """0 as long as it is not known."""

    def tell(self, seconds: float, pixels: int) -> None:
        """Learn from a batch."""
        if not self._is_warm:
            self._is_warm = True
            return
        self._batches.append((seconds / pixels, pixels))
        most = _OUTLIER * sorted(self._batches)[(len(self._batches) - 1) // 2][0]
        usual = [(pace, count) for pace, count in self._batches if pace <= most]
        total = sum(count for _, count in usual)
        self.seconds_per_pixel = sum(pace * count for pace, count in usual) / total


class Load:
    """Seconds of work for lanes that share a machine. Not thread-safe.

    Lanes at work at the same time slow each other down, so a batch is charged for its share of the
    time that it ran in: the charges add up to the time in which any lane worked, and what they say
    of a pixel is the rate at which the queue drains.
    """

    def __init__(self) -> None:
        self._paces: dict[Hashable, Pace] = {}
        self._active = 0
        self._shared = 0.0
        self._since = 0.0
        self._queued: dict[str, float] = {}
        self._running = 0.0

    def seconds(self, kind: Hashable, pixels: int) -> float:
        """What so many pixels will take of an operation; 0 as long as that is not known."""
        pace = self._paces.get(kind)
        return pixels * pace.seconds_per_pixel if pace else 0.0

    def queue(self, caller: str, seconds: float) -> None:
        """Count work that waits."""
        self._queued[caller] = self._queued.get(caller, 0.0) + seconds

    def unqueue(self, caller: str, seconds: float) -> None:
        """Count it no longer."""
        left = self._queued.get(caller, 0.0) - seconds
        if left > _ROUNDING_SECONDS:
            self._queued[caller] = left
        else:
            self._queued.pop(caller, None)

    def wait(self, caller: str, seconds: float) -> float:
        """How long a caller's new work would wait: callers have turns, so that one with little to
        do waits for no more than as much of each of the others.
        """
        own = self._queued.get(caller, 0.0) + seconds
        others = sum(min(own, queued) for name, queued in self._queued.items() if name != caller)
        return self._running + self._queued.get(caller, 0.0) + others

    def begin(self, seconds: float) -> float:
        """A batch begins; returns what ``end`` wants to know."""
        self._advance()
        self._active += 1
        self._running += seconds
        return self._shared

    def end(self, begun: float, seconds: float, kind: Hashable, pixels: int) -> None:
        """A batch has ended. One of no pixels was not computed, and tells nothing."""
        self._advance()
        self._active -= 1
        self._running = self._running - seconds if self._active else 0.0
        if pixels:
            self._paces.setdefault(kind, Pace()).tell(self._shared - begun, pixels)

    def _advance(self) -> None:
        now = time.monotonic()
        if self._active:
            self._shared += (now - self._since) / self._active
        self._since = now
