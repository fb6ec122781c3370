"""The asynchronous client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar, Unpack

import grpc

from kompakt_client import _operations, _plans
from kompakt_client._async_session import AsyncSession
from kompakt_client._base import BaseClient
from kompakt_client._commands import Emit, Return, step
from kompakt_client._inputs import ImageInput, StreamInput
from kompakt_client._link import Link
from kompakt_client._measurements import Evaluation, ModelInfo, ServerInfo
from kompakt_client._names import format_of_path
from kompakt_client._options import (
    CompressOptions,
    DecompressOptions,
    DecompressToOptions,
    EvaluateOptions,
)
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
        """Close the connection; calls under way fail, and so do later ones."""
        channels = self._disconnect()
        if grpc in channels:
            channels[grpc].close()
        if grpc.aio in channels:
            await channels[grpc.aio].close()

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

    def compress_stream(
        self, images: _Images, **options: Unpack[CompressOptions]
    ) -> AsyncIterator[Compressed | Failure]:
        """Compress a long run of images; see `Client.compress_stream`."""
        return self._iterate(_plans.stream(self._settings, _operations.compress, images, options))

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

    def decompress_stream(
        self, streams: _Streams, **options: Unpack[DecompressOptions]
    ) -> AsyncIterator[Decompressed | Failure]:
        """Decompress a long run of streams; see `Client.decompress_stream`."""
        plan = _plans.stream(self._settings, _operations.decompress, streams, options)
        return self._iterate(plan)

    async def evaluate(self, images: _Images, **options: Unpack[EvaluateOptions]) -> Evaluation:
        """Measure models and baselines on images; see `Client.evaluate`."""
        return await self._run(_plans.evaluate(self._settings, images, options))

    async def models(self, *, timeout: float | None = None) -> tuple[ModelInfo, ...]:
        """Return the loaded models in the order of their names."""
        return await self._run(_plans.models(self._settings, timeout))

    async def model(self, name: str | None = None, *, timeout: float | None = None) -> ModelInfo:
        """Return one loaded model; default, the server's default model."""
        return await self._run(_plans.model(self._settings, name, timeout))

    async def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """Return the server's version and limits."""
        return await self._run(_plans.server_info(self._settings, timeout))

    def _session(self, plan: _plans.Plan[Any]) -> AsyncSession:
        return AsyncSession(
            partial(self._connect, grpc.aio),
            Link(partial(self._connect, grpc), self._settings),
            self._settings,
            _stream(plan.inputs),
            plan.prepare,
        )

    async def _run(self, plan: _plans.Plan[T]) -> T:
        async with self._session(plan) as session:
            command = step(plan.flow)
            while not isinstance(command, Return):
                command = step(plan.flow, await session.perform(command))
            return command.value

    async def _iterate(self, plan: _plans.Plan[None]) -> AsyncIterator[Any]:
        async with self._session(plan) as session:
            command = step(plan.flow)
            while not isinstance(command, Return):
                if isinstance(command, Emit):
                    for result in command.results:
                        yield result
                command = step(plan.flow, await session.perform(command))


async def _stream(inputs: Any) -> AsyncIterator[Any]:
    if isinstance(inputs, AsyncIterable):
        async for source in inputs:
            yield source
    else:
        for source in inputs:
            yield source
