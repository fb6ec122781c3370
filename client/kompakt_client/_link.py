"""One stream to the server."""

from __future__ import annotations

import atexit
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message

from kompakt_client._config import Settings
from kompakt_client._errors import KompaktError, UnavailableError
from kompakt_client._status import error_of_call, error_of_channel

Outcome: TypeAlias = Message | KompaktError | None
"""What comes of a stream: a message, at last an error, or None if the server ended it."""

Event: TypeAlias = tuple["Link", Outcome]
"""What came of which stream."""

_READ: set[Link] = set()
"""The streams that a thread of this process reads, or is about to."""


class Link:
    """A stream, read by a thread of its own, that reports what comes until it is closed.

    Both clients use it: an asyncio stream which the server refuses while the client
    sends loses the server's status (github.com/grpc/grpc/issues/36066).
    """

    def __init__(
        self,
        method: Any,
        message: Message,
        settings: Settings,
        report: Callable[[Event], None],
        *,
        wait: bool,
    ) -> None:
        """Begin a stream with its first message; `wait` for a connection if there is none."""
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._messages.put(message)
        self._target = settings.target
        self._report = report
        self._closed = False
        metadata = settings.metadata()
        try:
            self._call = method(
                iter(self._messages.get, None), metadata=metadata, wait_for_ready=wait
            )
        except ValueError as error:
            raise error_of_channel(error) from error
        self._reader = threading.Thread(target=self._read, name="kompakt-stream", daemon=True)
        _READ.add(self)  # not by the thread, which the end of the interpreter may find before that
        try:
            self._reader.start()
        except RuntimeError:  # there can be no more threads
            _READ.discard(self)
            raise

    def send(self, message: Message | None) -> None:
        """Have a message sent, without waiting for it; None says that there are no more."""
        self._messages.put(message)

    def close(self) -> None:
        """Give up the stream, and end the threads that send and read."""
        self._closed = True
        if self._reader.is_alive():  # as it is not in a child of the process that began it
            self._call.cancel()
            self._messages.put(None)

    def _read(self) -> None:
        outcome: Outcome
        try:
            for outcome in self._call:
                self._tell(outcome)
            outcome = None
        except grpc.RpcError as error:
            outcome = _error_of_stream(error, self._target)
        self._messages.put(None)
        self._tell(outcome)
        _READ.discard(self)

    def _tell(self, outcome: Outcome) -> None:
        if not self._closed:
            self._report((self, outcome))


@atexit.register
def _close_all() -> None:
    """Give up what is open as the interpreter ends.

    Soon its threads are no more, perhaps with a lock of gRPC's that a later end waits for.
    """
    for link in list(_READ):
        link.close()
        link._reader.join()


def _error_of_stream(error: grpc.RpcError, target: str) -> KompaktError:
    """Return the exception for a stream that failed.

    One that was cancelled, and not by us, was lost to a server that went away.
    """
    made = error_of_call(error, target)
    if made.code != "CANCELLED":
        return made
    lost = UnavailableError(f"{target} gave up the stream: {made}", code="UNAVAILABLE")
    lost.__cause__ = error
    return lost
