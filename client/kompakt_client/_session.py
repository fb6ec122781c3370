"""Commands carried out, synchronously."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from kompakt_client._commands import END, Call, Command, Emit, Open, Pull, Receive, Send, Sleep
from kompakt_client._config import Settings
from kompakt_client._errors import KompaktError
from kompakt_client._link import Link
from kompakt_client._packing import Item
from kompakt_client._status import error_of_call


class Session:
    """Carries out the commands of one flow; a failure is an outcome like any other."""

    def __init__(
        self,
        connect: Callable[[], dict[str, Any]],
        settings: Settings,
        inputs: Iterator[Item],
    ) -> None:
        self._connect = connect
        self._settings = settings
        self._inputs = inputs
        self._link = Link(connect, settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._link.close()

    def perform(self, command: Command) -> Any:
        """Carry out one command and return what came of it."""
        match command:
            case Pull():
                return next(self._inputs, END)
            case Call():
                return self._attempt(command)
            case Sleep(seconds):
                time.sleep(seconds)
            case Open(method, message):
                self._link.open(method, message)
            case Send(message):
                self._link.send(message)
            case Receive(timeout):
                return self._link.receive(timeout)
            case Emit():
                pass
        return None

    def _attempt(self, call: Call) -> Message | KompaktError:
        try:
            response: Message = self._connect()[call.method](
                call.request, timeout=call.timeout, metadata=self._settings.metadata()
            )
        except grpc.RpcError as error:
            return error_of_call(error, self._settings.target)
        return response
