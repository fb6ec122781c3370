"""Items gathered into messages of a bounded size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from google.protobuf.message import Message


class Item(NamedTuple):
    """An image or stream to send, and the options it goes with."""

    message: Message
    options: Message
    num_bytes: int

    @classmethod
    def of(cls, message: Message, options: Message) -> Item:
        """Return the item of a message."""
        return cls(message, options, message.ByteSize())


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one message may hold: an item that is larger goes alone."""

    max_items: int
    max_bytes: int

    def halved(self) -> Limits:
        """Return limits of half as many items."""
        return replace(self, max_items=max(1, self.max_items // 2))

    def share(self, item: Item) -> int:
        """Return the part of a full message that an item takes, of `max_bytes` parts."""
        return max(self.max_bytes // self.max_items, min(item.num_bytes, self.max_bytes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """The items of one message."""

    indices: tuple[int, ...]
    """Where each item stands in the whole run."""
    messages: tuple[Any, ...]
    """The items, at least one."""
    options: Message
    """The options of all of them."""

    def __len__(self) -> int:
        return len(self.messages)

    def pick(self, positions: Iterable[int]) -> Self:
        """Return a chunk of the items at these positions of this one."""
        chosen = tuple(positions)
        return replace(
            self,
            indices=tuple(self.indices[n] for n in chosen),
            messages=tuple(self.messages[n] for n in chosen),
        )

    def split(self, at: int) -> tuple[Self, Self]:
        """Return the items before a position, and those from it on."""
        return self.pick(range(at)), self.pick(range(at, len(self)))


class Packer:
    """Gathers items with the same options into chunks within the limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._num_taken = 0
        self._items: list[Item] = []
        self._num_bytes = 0

    @property
    def options(self) -> Message | None:
        """The options of what is gathered; None if nothing is."""
        return self._items[0].options if self._items else None

    def add(self, item: Item) -> Chunk | None:
        """Take an item; return a chunk if one is complete."""
        complete = None if self._fits(item) else self.take()
        self._items.append(item)
        self._num_bytes += item.num_bytes
        full = len(self._items) >= self.limits.max_items or self._num_bytes >= self.limits.max_bytes
        return self.take() if full and complete is None else complete

    def take(self) -> Chunk | None:
        """Return what is gathered, if there is anything."""
        if not self._items:
            return None
        end = self._num_taken + len(self._items)
        chunk = Chunk(
            indices=tuple(range(self._num_taken, end)),
            messages=tuple(item.message for item in self._items),
            options=self._items[0].options,
        )
        self._num_taken = end
        self._items = []
        self._num_bytes = 0
        return chunk

    def _fits(self, item: Item) -> bool:
        if not self._items:
            return True
        return (
            len(self._items) < self.limits.max_items
            and self._num_bytes + item.num_bytes <= self.limits.max_bytes
            and same_options(self._items[0].options, item.options)
        )


def same_options(one: Message | None, other: Message | None) -> bool:
    """Tell whether items with these options may share a message; most share the object."""
    return one is other or one == other
