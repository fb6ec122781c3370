"""How long what waits will take, judged by how long the like of it took."""

import time
from collections.abc import Hashable
from dataclasses import dataclass

_FORGET = 0.9
"""What is left of the weight of a batch when the next one has been measured."""

_ROUNDING_SECONDS = 1e-9


@dataclass(slots=True)
class _Pace:
    seconds: float = 0.0
    pixels: float = 0.0


class Load:
    """Seconds of work for lanes that share a machine. Not thread-safe.

    Lanes at work at the same time slow each other down, so a batch is charged for its share of the
    time that it ran in: the charges add up to the time in which any lane worked, and what they say
    of a pixel is the rate at which the queue drains.
    """

    def __init__(self) -> None:
        self._paces: dict[Hashable, _Pace] = {}
        self._active = 0
        self._shared = 0.0
        self._since = 0.0
        self._queued: dict[str, float] = {}
        self._running = 0.0

    def seconds(self, kind: Hashable, pixels: int) -> float:
        """What so many pixels will take of an operation; 0 as long as none was measured."""
        pace = self._paces.get(kind)
        return pixels * pace.seconds / pace.pixels if pace else 0.0

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
            pace = self._paces.setdefault(kind, _Pace())
            pace.seconds = _FORGET * pace.seconds + self._shared - begun
            pace.pixels = _FORGET * pace.pixels + pixels

    def _advance(self) -> None:
        now = time.monotonic()
        if self._active:
            self._shared += (now - self._since) / self._active
        self._since = now
