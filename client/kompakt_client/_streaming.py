"""Items sent over a stream with a bounded number of messages under way."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from kompakt_client._commands import Flow, Open, Patience, Receive, Send, Sleep, fill
from kompakt_client._errors import KompaktError, MessageTooLargeError
from kompakt_client._operations import Operation
from kompakt_client._packing import Chunk, Packer
from kompakt_client._results import Failure
from kompakt_client._status import broken_answer

R = TypeVar("R")

_WINDOW = 4


def needs_smaller(error: KompaktError) -> bool:
    """Tell whether the same items may pass in smaller messages."""
    return isinstance(error, MessageTooLargeError) or error.reason == "TOO_MANY_IMAGES"


class Stream(Generic[R]):
    """The state of one run of items over a stream.

    Invariant: every item is either in the inputs, in the packer, in the backlog
    (to be sent), among the sent (and not yet answered), or its result has been
    returned. So the run survives the loss of a connection: what was sent goes
    back to the backlog, and a new stream takes its place.
    """

    def __init__(
        self,
        operation: Operation[R],
        patience: Patience,
        packer: Packer,
        *,
        backlog: Iterable[Chunk] = (),
        pools: bool = False,
    ) -> None:
        self._operation = operation
        self._patience = patience
        self._packer = packer
        self._backlog = deque(backlog)
        self._sent: deque[Chunk] = deque()
        self._window = _WINDOW
        self._options: Message | None = None
        """Those of the open stream; None if none is open."""
        self._pools = pools
        """Whether the server keeps state over the whole stream."""
        self._answered = False

    def next_results(self) -> Flow[list[R | Failure]]:
        """Return the next results, at least one; none at all once all are done."""
        yield from self._send_window()
        if not self._sent:
            yield from self._close()
            return []
        return (yield from self._receive_results())

    def finish(self) -> Flow[Any]:
        """Say that there are no more items, and return the server's last message."""
        yield Send(None)
        response = yield from self._receive(self._patience.timeout)
        yield from self._await_end()
        return response

    def _send_window(self) -> Flow[None]:
        while len(self._sent) < self._window:
            chunk = self._backlog.popleft() if self._backlog else (yield from fill(self._packer))
            if chunk is None:
                return
            if chunk.options == self._options:
                yield Send(self._operation.following(chunk))
            elif self._sent:
                self._backlog.appendleft(chunk)
                return
            else:
                yield from self._open(chunk)
            self._sent.append(chunk)

    def _open(self, chunk: Chunk) -> Flow[None]:
        yield from self._close()
        yield Open(f"Stream{self._operation.method}", self._operation.opening(chunk))
        self._options = chunk.options

    def _close(self) -> Flow[None]:
        """End a stream whose items are all answered, unless `finish` will."""
        if self._options is None or self._pools:
            return
        yield Send(None)
        yield from self._await_end()

    def _await_end(self) -> Flow[None]:
        """Let the server end the stream, which would look cancelled to it otherwise."""
        with contextlib.suppress(KompaktError):
            yield Receive(self._patience.timeout)

    def _receive_results(self) -> Flow[list[R | Failure]]:
        retry = self._patience.start()
        while True:
            try:
                response = yield from self._receive(retry.remaining())
            except KompaktError as error:
                if self._pools and self._answered:
                    raise
                alone = len(self._sent) == 1
                self._rewind()
                if not needs_smaller(error):
                    delay = retry.delay_after(error)
                elif self._halve() or not alone:
                    delay = 0.0
                else:
                    return [self._failure(error)]
            else:
                self._answered = True
                self._window = _WINDOW
                return self._operation.results(response, self._sent.popleft())
            yield Sleep(delay)
            yield from self._send_window()

    def _receive(self, timeout: float) -> Flow[Any]:
        response = yield Receive(timeout)
        if response is None:
            raise broken_answer("the stream ended before its last item was answered")
        return response

    def _rewind(self) -> None:
        """Put what is not answered back, to be sent over a new stream.

        That one begins with a single message under way, so that an error which
        comes of a message is known to come of that one.
        """
        self._backlog.extendleft(reversed(self._sent))
        self._sent.clear()
        self._options = None
        self._window = 1

    def _halve(self) -> bool:
        """Make messages smaller, if any holds several items."""
        if all(len(chunk.messages) == 1 for chunk in self._backlog):
            return False
        self._packer.limits = self._packer.limits.halved()
        self._backlog = deque(half for chunk in self._backlog for half in chunk.halves())
        return True

    def _failure(self, error: KompaktError) -> Failure:
        """Return the error as that of the one item that was under way, or raise it."""
        if self._pools or not isinstance(error, MessageTooLargeError):
            raise error
        return Failure(index=self._backlog.popleft().start, error=error)
