"""Items gathered into messages of a bounded size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Item:
    """An image or stream to send, and the options it goes with."""

    message: Message
    options: Message


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one message may hold: an item that is larger goes alone."""

    max_items: int
    max_bytes: int

    def halved(self) -> Limits:
        """Return limits of half as many items."""
        return replace(self, max_items=max(1, self.max_items // 2))


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """The items of one message."""

    start: int
    """The index of the first item in the whole run."""
    messages: tuple[Any, ...]
    """The items, at least one."""
    options: Message
    """The options of all of them."""

    def halves(self) -> tuple[Self, ...]:
        """Return the chunk in two parts, or as it is if it holds one item."""
        middle = len(self.messages) // 2
        if middle == 0:
            return (self,)
        first, rest = self.messages[:middle], self.messages[middle:]
        return (
            replace(self, messages=first),
            replace(self, messages=rest, start=self.start + middle),
        )


class Packer:
    """Gathers items with the same options into chunks within the limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._start = 0
        self._items: list[Item] = []
        self._num_bytes = 0

    def add(self, item: Item) -> Chunk | None:
        """Take an item; return a chunk if one is complete."""
        size = item.message.ByteSize()
        complete = None if self._fits(item, size) else self.take()
        self._items.append(item)
        self._num_bytes += size
        if complete is None and len(self._items) >= self.limits.max_items:
            return self.take()
        return complete

    def take(self) -> Chunk | None:
        """Return what is gathered, if there is anything."""
        if not self._items:
            return None
        messages = tuple(item.message for item in self._items)
        chunk = Chunk(start=self._start, messages=messages, options=self._items[0].options)
        self._start += len(messages)
        self._items = []
        self._num_bytes = 0
        return chunk

    def _fits(self, item: Item, size: int) -> bool:
        if not self._items:
            return True
        same = self._items[0].options == item.options
        return (
            same
            and len(self._items) < self.limits.max_items
            and self._num_bytes + size <= self.limits.max_bytes
        )
