"""One stream to the server, with a limit on each wait."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import Message

from kompakt_client._config import Settings
from kompakt_client._errors import KompaktError
from kompakt_client._status import deadline_error, error_of_call


class Link:
    """A stream that is open, was, or will be."""

    def __init__(self, connect: Callable[[], dict[str, Any]], settings: Settings) -> None:
        self._connect = connect
        self._settings = settings
        self._call: Any = None
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()

    def open(self, method: str, message: Message) -> None:
        """Give up the stream before, if any, and begin one with its first message."""
        self.close()
        messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        messages.put(message)
        self._messages = messages
        self._call = self._connect()[method](
            iter(messages.get, None), metadata=self._settings.metadata()
        )

    def send(self, message: Message | None) -> None:
        """Have a message sent, without waiting for it; None says that there are no more."""
        self._messages.put(message)

    def receive(self, timeout: float) -> Message | KompaktError | None:
        """Wait for one message; None if the server has ended the stream.

        gRPC can limit a whole stream only, so that a timer has to limit the wait.
        """
        late = threading.Event()
        timer = threading.Timer(max(timeout, 0.0), self._give_up, [late])
        timer.daemon = True
        timer.start()
        outcome: Message | KompaktError | None
        try:
            outcome = next(self._call, None)
        except grpc.RpcError as error:
            outcome = error_of_call(error, self._settings.target)
        timer.cancel()
        return deadline_error(self._settings.target) if late.is_set() else outcome

    def close(self) -> None:
        """Give up the stream, if any, and end the thread that sends on it."""
        if self._call is not None:
            self._call.cancel()
            self._messages.put(None)

    def _give_up(self, late: threading.Event) -> None:
        late.set()
        self._call.cancel()
