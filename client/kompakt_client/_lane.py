"""One of the connections of a run, and the streams that it has one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from google.protobuf.message import Message

from kompakt_client._operations import Operation
from kompakt_client._packing import Chunk, same_options
from kompakt_client._retry import Retry

WINDOW = 4
"""How many messages may be under way on one stream."""


class Sender(Protocol):
    """An open stream, as `_link.Link` is."""

    def send(self, message: Message | None) -> None: ...
    def close(self) -> None: ...


Opener: TypeAlias = Callable[[int, str, Message, bool], Sender]
"""Opens a stream: of a lane's number, the method, its first message, and whether to wait
for a connection."""


class Lane:
    """A connection, whose messages are answered or come back."""

    def __init__(self, number: int, operation: Operation[Any], open_link: Opener) -> None:
        self.link: Sender | None = None
        """The open stream."""
        self.sent: dict[int, Chunk] = {}
        """What is not answered, by the number of its first item in the open stream."""
        self.window = WINDOW
        self.retry: Retry | None = None
        """The attempts since the last answer."""
        self.wake: float | None = None
        """When the lane may send again after a failure, by the clock of the run."""
        self._number = number
        self._operation = operation
        self._open_link = open_link
        self._options: Message | None = None
        self._num_items = 0

    def accepts(self, options: Message, *, idle: bool) -> bool:
        """Tell whether a message with these options can be sent now; `idle`, only if none is."""
        if self.wake is not None or len(self.sent) >= self.window:
            return False
        return not self.sent or (not idle and same_options(self._options, options))

    def send(self, chunk: Chunk, *, wait: bool) -> Sender | None:
        """Send a chunk; return the stream that had to end for it, as its options are others."""
        ended = None
        if self.link is not None and not same_options(self._options, chunk.options):
            ended = self.end()
        if self.link is None:
            self._options = chunk.options
            self._num_items = 0
            method, opening = f"Stream{self._operation.method}", self._operation.opening(chunk)
            self.link = self._open_link(self._number, method, opening, wait)
        else:
            self.link.send(self._operation.following(chunk))
        self.sent[self._num_items] = chunk
        self._num_items += len(chunk)
        return ended

    def end(self) -> Sender:
        """Say that no more comes on the open stream, and return it."""
        assert self.link is not None
        ended, self.link = self.link, None
        ended.send(None)
        return ended

    def surrender(self) -> list[Chunk]:
        """Give up the open stream, and return what was not answered."""
        assert self.link is not None
        self.link.close()
        self.link = None
        chunks = list(self.sent.values())
        self.sent.clear()
        return chunks
