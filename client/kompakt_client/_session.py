"""Commands and runs carried out, synchronously."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message import Message

from kompakt_client._commands import END, Call, Command, Pull, Sleep
from kompakt_client._config import Settings
from kompakt_client._errors import KompaktError
from kompakt_client._link import Event
from kompakt_client._many import Run
from kompakt_client._packing import Item
from kompakt_client._status import error_of_call, error_of_channel


class Session:
    """Carries out the commands of one flow; a failure is an outcome like any other."""

    def __init__(
        self, connect: Callable[[], dict[str, Any]], settings: Settings, inputs: Iterator[Item]
    ) -> None:
        self._connect = connect
        self._settings = settings
        self._inputs = inputs

    def perform(self, command: Command) -> Any:
        """Carry out one command and return what came of it."""
        match command:
            case Pull():
                return next(self._inputs, END)
            case Call():
                return self._attempt(command)
            case Sleep(seconds):
                time.sleep(seconds)
        return None

    def _attempt(self, call: Call) -> Message | KompaktError:
        method = self._connect()[call.method]
        metadata = self._settings.metadata()
        try:
            response: Message = method(call.request, timeout=call.timeout, metadata=metadata)
        except grpc.RpcError as error:
            return error_of_call(error, self._settings.target)
        except ValueError as error:
            return error_of_channel(error)
        return response


def drive(run: Run[Any], events: queue.SimpleQueue[Event], inputs: Iterator[Item]) -> Iterator[Any]:
    """Yield the results of a run, whose inputs are read between them in this thread.

    What reading them raises is raised after the results of those before.
    """
    try:
        while not run.done:
            if run.has_result:
                yield run.pop()
            elif not events.empty():
                run.handle(*events.get())
            elif run.wants_input:
                _read(run, inputs)
            else:
                _wait(run, events)
        run.end()
    finally:
        run.close()


def _read(run: Run[Any], inputs: Iterator[Item]) -> None:
    begun = time.monotonic()
    try:
        item = next(inputs, END)
    except Exception as error:
        run.break_off(error)
    else:
        run.add(item)
        run.spend(time.monotonic() - begun)


def _wait(run: Run[Any], events: queue.SimpleQueue[Event]) -> None:
    begun = time.monotonic()
    event = None
    with contextlib.suppress(queue.Empty):
        event = events.get(timeout=run.timeout())
    run.waited += time.monotonic() - begun
    if event is None:
        run.tick()
    else:
        run.handle(*event)
