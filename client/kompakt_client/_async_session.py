"""Commands carried out, asynchronously."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from kompakt_client._commands import END, Call, Command, Emit, Open, Pull, Receive, Send, Sleep
from kompakt_client._config import Settings
from kompakt_client._errors import KompaktError
from kompakt_client._inputs import is_slow
from kompakt_client._link import Link
from kompakt_client._packing import Item
from kompakt_client._status import error_of_call


class AsyncSession:
    """Carries out the commands of one flow; a failure is an outcome like any other.

    Streams go over a synchronous link with a thread that waits: an asyncio stream
    which the server refuses while the client sends loses the server's status
    (github.com/grpc/grpc/issues/36066).
    """

    def __init__(
        self,
        connect: Callable[[], dict[str, Any]],
        link: Link,
        settings: Settings,
        inputs: AsyncIterator[Any],
        prepare: Callable[[Any], Item],
    ) -> None:
        self._connect = connect
        self._link = link
        self._settings = settings
        self._inputs = inputs
        self._prepare = prepare
        self._thread = ThreadPoolExecutor(1, "kompakt-stream")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._link.close()
        self._thread.shutdown(wait=False)

    async def perform(self, command: Command) -> Any:
        """Carry out one command and return what came of it."""
        match command:
            case Pull():
                return await self._pull()
            case Call():
                return await self._attempt(command)
            case Sleep(seconds):
                await asyncio.sleep(seconds)
            case Open(method, message):
                self._link.open(method, message)
            case Send(message):
                self._link.send(message)
            case Receive(timeout):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._thread, self._link.receive, timeout)
            case Emit():
                pass
        return None

    async def _pull(self) -> Item | None:
        async for source in self._inputs:
            if is_slow(source):
                return await asyncio.to_thread(self._prepare, source)
            return self._prepare(source)
        return END

    async def _attempt(self, call: Call) -> Message | KompaktError:
        try:
            response: Message = await self._connect()[call.method](
                call.request, timeout=call.timeout, metadata=self._settings.metadata()
            )
        except grpc.RpcError as error:
            return error_of_call(error, self._settings.target)
        return response
