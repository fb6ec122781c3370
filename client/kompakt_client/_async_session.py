"""Commands and runs carried out, asynchronously."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.message import Message

from kompakt_client._commands import END, Call, Command, Pull, Sleep
from kompakt_client._config import Settings
from kompakt_client._errors import KompaktError
from kompakt_client._link import Event
from kompakt_client._many import Run
from kompakt_client._packing import Item
from kompakt_client._status import error_of_call

_AHEAD = 16


class AsyncSession:
    """Carries out the commands of one flow; a failure is an outcome like any other."""

    def __init__(
        self,
        connect: Callable[[], dict[str, Any]],
        settings: Settings,
        inputs: AsyncIterator[Item],
    ) -> None:
        self._connect = connect
        self._settings = settings
        self._inputs = inputs

    async def perform(self, command: Command) -> Any:
        """Carry out one command and return what came of it."""
        match command:
            case Pull():
                return await anext(self._inputs, END)
            case Call():
                return await self._attempt(command)
            case Sleep(seconds):
                await asyncio.sleep(seconds)
        return None

    async def _attempt(self, call: Call) -> Message | KompaktError:
        try:
            response: Message = await self._connect()[call.method](
                call.request, timeout=call.timeout, metadata=self._settings.metadata()
            )
        except grpc.RpcError as error:
            return error_of_call(error, self._settings.target)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return KompaktError("the channel was closed", code="CANCELLED")
        return response


class Mailbox:
    """What a run waits for: events of its streams, and its inputs, read a few ahead."""

    def __init__(self, inputs: AsyncGenerator[Item, None]) -> None:
        self.events: deque[Event] = deque()
        self.items: deque[Item | BaseException | None] = deque()
        self._inputs = inputs
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    def report(self, event: Event) -> None:
        """Take an event from another thread."""
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._put, self.events, event)

    def take(self) -> Item | BaseException | None:
        """Return the next input, or what reading it raised."""
        self._room.set()
        return self.items.popleft()

    async def news(self, timeout: float | None) -> None:
        """Wait until there is something new, or until the timeout.

        In Python 3.11 `asyncio.wait_for` loses a cancellation that comes with the news.
        """
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._news.wait()

    async def close(self) -> None:
        """Stop reading, and let go of the inputs."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._inputs.aclose()

    def _put(self, box: deque[Any], what: Any) -> None:
        box.append(what)
        self._news.set()

    async def _read(self) -> None:
        try:
            async for item in self._inputs:
                self._put(self.items, item)
                while len(self.items) >= _AHEAD:
                    self._room.clear()
                    await self._room.wait()
        except (Exception, asyncio.CancelledError) as error:  # the source may have been cancelled
            self._put(self.items, error)
        else:
            self._put(self.items, END)


async def drive(run: Run[Any], box: Mailbox) -> AsyncGenerator[Any, None]:
    """Yield the results of a run, whose inputs are read beside it.

    What reading them raises is raised after the results of those before.
    """
    clock = asyncio.get_running_loop().time
    try:
        while not run.done:
            if run.has_result:
                yield run.pop()
            elif box.events:
                run.handle(*box.events.popleft())
            elif run.wants_input and box.items:
                item = box.take()
                if isinstance(item, BaseException):
                    run.break_off(item)
                else:
                    run.add(item)
            else:
                begun = clock()
                await box.news(run.timeout())
                run.waited += clock() - begun
                if not box.events:
                    run.tick()
        run.end()
    finally:
        run.close()
        await box.close()
