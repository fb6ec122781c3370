"""What a run has read ahead of its consumer, and the results on their way to it."""

from __future__ import annotations

from collections import deque
from typing import Any, Generic, TypeVar

from kompakt_client._packing import Item, Limits

R = TypeVar("R")


class Ledger(Generic[R]):
    """Items that were read and not handed out, in order or as they are completed.

    Room is counted in full messages: an item takes its share of one from when it is
    added until its result is handed out.
    """

    def __init__(self, limits: Limits, num_messages: int, *, ordered: bool) -> None:
        self.ready: deque[R] = deque()
        """Results that can be handed out."""
        self._limits = limits
        self._room = num_messages * limits.max_bytes
        self._ordered = ordered
        self._shares: dict[int, int] = {}
        self._num_added = 0
        self._held: dict[int, R] = {}
        """Results that came before their turn."""
        self._turn = 0

    @property
    def has_room(self) -> bool:
        """Whether another item may be read."""
        return self._room > 0

    @property
    def is_empty(self) -> bool:
        """Whether every item's result was handed out."""
        return not self._shares

    def add(self, item: Item) -> None:
        """Count an item that was read."""
        share = self._limits.share(item)
        self._shares[self._num_added] = share
        self._num_added += 1
        self._room -= share

    def finish(self, result: Any) -> None:
        """Take an item's result, which knows its index."""
        if not self._ordered:
            self.ready.append(result)
            return
        self._held[result.index] = result
        while self._turn in self._held:
            self.ready.append(self._held.pop(self._turn))
            self._turn += 1

    def pop(self) -> R:
        """Hand out a result that is ready. Raises KeyError for an item that was handed out."""
        result: Any = self.ready.popleft()
        self._room += self._shares.pop(result.index)
        handed_out: R = result
        return handed_out
