"""One of the connections of a run, and the streams that it has one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from google.protobuf.message import Message

from kompakt_client._errors import KompaktError, OverloadedError
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

    def __init__(
        self,
        number: int,
        operation: Operation[Any],
        open_link: Opener,
        start: Callable[[], Retry],
        clock: Callable[[], float],
    ) -> None:
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
        self._start = start
        self._clock = clock
        self._options: Message | None = None
        self._num_items = 0

    @property
    def gets_on(self) -> bool:
        """Whether nothing has failed since the last answer."""
        return not (self.retry and self.retry.failed)

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

    def put_off(self, errors: Sequence[KompaktError]) -> bool:
        """Wait before items that a busy server refused are sent again, unless it is too late.

        Messages that were under way together and are refused count as one attempt.
        """
        assert self.retry is not None
        longest = max(errors, key=lambda error: error.retry_after or 0.0)
        asked = longest.retry_after or 0.0
        if self.wake is not None and asked < self.retry.remaining():
            self.wake = max(self.wake, self._clock() + asked)
            return True
        try:
            self.wake = self._clock() + self.retry.delay_after(longest)
        except KompaktError:
            self.retry = self._start() if self.sent else None
            return False
        return True

    def pause(self, error: KompaktError, *, others_get_on: bool) -> None:
        """Wait after the stream failed, or raise the error.

        A server may have no place for as many streams as there are lanes: one that finds none
        tries on while others get on, which take over what it had.
        """
        assert self.retry is not None
        try:
            delay = self.retry.delay_after(error)
        except OverloadedError:
            if error.retry_after is None or not others_get_on:
                raise
            self.retry, delay = None, error.retry_after
        self.wake = self._clock() + delay
