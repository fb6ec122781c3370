"""The asynchronous client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar, Unpack

import grpc

from kompakt_client import _operations, _plans
from kompakt_client._async_session import AsyncSession, Mailbox, drive
from kompakt_client._base import BaseClient
from kompakt_client._commands import Return, step
from kompakt_client._convert import to_evaluation
from kompakt_client._inputs import ImageInput, StreamInput, is_slow
from kompakt_client._measurements import Evaluation, ModelInfo, ServerInfo
from kompakt_client._names import format_of_path
from kompakt_client._options import (
    CompressOptions,
    DecompressOptions,
    DecompressToOptions,
    EvaluateOptions,
)
from kompakt_client._packing import Item
from kompakt_client._results import Compressed, Decompressed, Failure

T = TypeVar("T")

_Images: TypeAlias = Iterable[ImageInput] | AsyncIterable[ImageInput]
_Streams: TypeAlias = Iterable[StreamInput] | AsyncIterable[StreamInput]


class AsyncClient(BaseClient):
    """A client of a Kompakt server for asyncio; use one in each event loop.

        async with AsyncClient("localhost:50051") as client:
            compressed = await client.compress("digit.png")
            pixels = (await client.decompress(compressed)).to_numpy()

    The methods, their arguments and their errors are those of `Client`; several
    inputs may come from an async iterable too. Files are read in threads.
    """

    _loop: asyncio.AbstractEventLoop | None = None
    """That of the first call, to which gRPC binds a channel."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection; calls under way and later ones raise RuntimeError."""
        for channel in self._disconnect(grpc):
            channel.close()
        for channel in self._disconnect(grpc.aio):
            await channel.close()

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the server answers; see `Client.wait_ready`."""
        await self._run(_plans.wait_ready(self._settings, timeout))

    async def compress(self, image: ImageInput, **options: Unpack[CompressOptions]) -> Compressed:
        """Compress one image; see `Client.compress`."""
        return await self._run(_plans.single(self._settings, _operations.compress, image, options))

    async def compress_batch(
        self, images: _Images, **options: Unpack[CompressOptions]
    ) -> tuple[Compressed | Failure, ...]:
        """Compress many images; see `Client.compress_batch`."""
        return await self._run(_plans.batch(self._settings, _operations.compress, images, options))

    def compress_many(
        self, images: _Images, *, ordered: bool = True, **options: Unpack[CompressOptions]
    ) -> AsyncGenerator[Compressed | Failure, None]:
        """Compress any number of images; see `Client.compress_many`.

        The images are read by a task of their own, up to 16 further ahead. Leave a run
        early within `contextlib.aclosing`, so that it ends at once.
        """
        many = _plans.many(self._settings, _operations.compress, images, options)
        return self._iterate(many, ordered=ordered)

    async def decompress(
        self, stream: StreamInput, **options: Unpack[DecompressOptions]
    ) -> Decompressed:
        """Decompress one stream; see `Client.decompress`."""
        plan = _plans.single(self._settings, _operations.decompress, stream, options)
        return await self._run(plan)

    async def decompress_to(
        self,
        stream: StreamInput,
        path: str | os.PathLike[str],
        **options: Unpack[DecompressToOptions],
    ) -> Path:
        """Decompress one stream to an image file; see `Client.decompress_to`."""
        image_format = format_of_path(path)
        image = await self.decompress(stream, format=image_format, **options)
        return await asyncio.to_thread(image.save, path)

    async def decompress_batch(
        self, streams: _Streams, **options: Unpack[DecompressOptions]
    ) -> tuple[Decompressed | Failure, ...]:
        """Decompress many streams; see `Client.decompress_batch`."""
        plan = _plans.batch(self._settings, _operations.decompress, streams, options)
        return await self._run(plan)

    def decompress_many(
        self, streams: _Streams, *, ordered: bool = True, **options: Unpack[DecompressOptions]
    ) -> AsyncGenerator[Decompressed | Failure, None]:
        """Decompress any number of streams; see `Client.compress_many`."""
        many = _plans.many(self._settings, _operations.decompress, streams, options)
        return self._iterate(many, ordered=ordered)

    async def evaluate(self, images: _Images, **options: Unpack[EvaluateOptions]) -> Evaluation:
        """Measure models and baselines on images; see `Client.evaluate`."""
        many = _plans.evaluate(self._settings, images, options)
        box = Mailbox(_prepared(many.inputs, many.operation.prepare))
        run = self._begin(many, box.report)
        with self._until_closed():
            results = tuple([result async for result in drive(run, box)])
        return to_evaluation(results, run.summary)

    async def models(self, *, timeout: float | None = None) -> tuple[ModelInfo, ...]:
        """Return the loaded models in the order of their names."""
        return await self._run(_plans.models(self._settings, timeout))

    async def model(self, name: str | None = None, *, timeout: float | None = None) -> ModelInfo:
        """Return one loaded model; default, the server's default model."""
        return await self._run(_plans.model(self._settings, name, timeout))

    async def load_model(
        self, path: str, *, promote: bool = False, timeout: float | None = None
    ) -> ModelInfo:
        """Load a checkpoint on the server; see `Client.load_model`."""
        plan = _plans.load_model(self._settings, path, promote=promote, timeout=timeout)
        return await self._run(plan)

    async def unload_model(
        self, model: str, *, all_versions: bool = False, timeout: float | None = None
    ) -> tuple[str, ...]:
        """Unload a version or a model; see `Client.unload_model`."""
        return await self._run(
            _plans.unload_model(self._settings, model, all_versions=all_versions, timeout=timeout)
        )

    async def promote_model(self, model: str, *, timeout: float | None = None) -> ModelInfo:
        """Make a version the current one; see `Client.promote_model`."""
        return await self._run(_plans.promote_model(self._settings, model, timeout))

    async def rollback_model(self, name: str, *, timeout: float | None = None) -> ModelInfo:
        """Make the version before current; see `Client.rollback_model`."""
        return await self._run(_plans.rollback_model(self._settings, name, timeout))

    async def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """Return the server's version and limits."""
        return await self._run(_plans.server_info(self._settings, timeout))

    async def _run(self, plan: _plans.Plan[T]) -> T:
        inputs = _prepared(plan.inputs, plan.prepare)
        session = AsyncSession(self._connect_in_loop, self._settings, inputs)
        command = step(plan.flow)
        with self._until_closed():
            while not isinstance(command, Return):
                command = step(plan.flow, await session.perform(command))
        return command.value

    def _connect_in_loop(self) -> dict[str, Any]:
        """Return the methods on a channel of this event loop. Raises RuntimeError in any other."""
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            raise RuntimeError("the client belongs to another event loop: use one client in each")
        return self._connect(grpc.aio)

    async def _iterate(self, many: _plans.Many[Any], *, ordered: bool) -> AsyncGenerator[Any, None]:
        await self._run(many.preparation())
        box = Mailbox(_prepared(many.inputs, many.operation.prepare))
        run = self._begin(many, box.report, ordered=ordered)
        with self._until_closed():
            async with aclosing(drive(run, box)) as results:
                async for result in results:
                    yield result


async def _prepared(inputs: Any, prepare: Callable[[Any], Item]) -> AsyncGenerator[Item, None]:
    async with aclosing(_stream(inputs)) as sources:
        async for source in sources:
            yield await asyncio.to_thread(prepare, source) if is_slow(source) else prepare(source)


async def _stream(inputs: Any) -> AsyncGenerator[Any, None]:
    if isinstance(inputs, AsyncIterable):
        async for source in inputs:
            yield source
    else:
        for source in inputs:
            yield source
