"""The synchronous client."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

from kompakt_client import _operations, _plans
from kompakt_client._base import BaseClient
from kompakt_client._commands import Emit, Return, step
from kompakt_client._inputs import ImageInput, StreamInput
from kompakt_client._measurements import Evaluation, ModelInfo, ServerInfo
from kompakt_client._names import format_of_path
from kompakt_client._options import (
    CompressOptions,
    DecompressOptions,
    DecompressToOptions,
    EvaluateOptions,
)
from kompakt_client._results import Compressed, Decompressed, Failure
from kompakt_client._session import Session

T = TypeVar("T")


class Client(BaseClient):
    """A client of a Kompakt server. Threads may share it.

        with Client("localhost:50051") as client:
            compressed = client.compress("digit.png")
            pixels = client.decompress(compressed).to_numpy()

    Every method raises a `KompaktError` if its call fails, and TypeError, ValueError
    or OSError for an input that cannot be sent.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way fail, and so do later ones."""
        for channel in self._disconnect().values():
            channel.close()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the server answers.

        Raises UnavailableError if it did not within the timeout, in seconds.
        """
        self._run(_plans.wait_ready(self._settings, timeout))

    def compress(self, image: ImageInput, **options: Unpack[CompressOptions]) -> Compressed:
        """Compress one image.

        It is given as a path, the bytes of an image file, a binary file object, an
        array of pixels (uint8, HW or HWC with 1 or 3 channels), or a PIL image.

        Options:
        - `model`: its name; default, the server's default model.
        - `profile`: "file" (default) makes a self-describing stream, "embedded" one
          with 2 bytes beside the payload (and the size, if it is not the usual one of
          a model of several), whose model you have to know.
        - `fit`: what to do with an image of a size that the model does not accept:
          "refuse" it (default), or scale it to "contain", "cover" or "stretch".
        - one quality at most, which the stream is measured to have, or else the image
          fails with a `QualityUnreachableError`: `min_psnr_db` in dB or `max_mse` on
          [0, 1], the smallest stream found that has it; `max_bytes`, framing included,
          the best stream found that fits; `lossless`, True to lose nothing; `level`, a
          rate level of the model. Default: the model's default level.
        - `fallback`: "best" (default) lets a classical codec (DEFLATE, PNG, WebP) make
          the stream of an image for which it needs fewer bytes at no worse quality;
          "never" does not.
        - `latents`: True to return the quantised latents too.
        - `reconstruction`: True to return what the stream decodes to, and its
          distortion.
        - `timeout`: seconds, all attempts included; default, the client's.
        """
        return self._run(_plans.single(self._settings, _operations.compress, image, options))

    def compress_batch(
        self, images: Iterable[ImageInput], **options: Unpack[CompressOptions]
    ) -> tuple[Compressed | Failure, ...]:
        """Compress many images; the options are those of `compress`.

        Returns one result for each image, in order: an image that failed has a
        `Failure` in its place. `result.unwrap()` returns the one or raises the
        other. A long list is sent in several requests, each with its own timeout.
        """
        return self._run(_plans.batch(self._settings, _operations.compress, images, options))

    def compress_stream(
        self, images: Iterable[ImageInput], **options: Unpack[CompressOptions]
    ) -> Iterator[Compressed | Failure]:
        """Compress a long run of images in bounded memory; the options are those of `compress`.

        Yields the results of `compress_batch` one by one, and takes a few hundred
        images ahead. A lost connection is taken up again. The timeout is for each
        answer.
        """
        return self._iterate(_plans.stream(self._settings, _operations.compress, images, options))

    def decompress(self, stream: StreamInput, **options: Unpack[DecompressOptions]) -> Decompressed:
        """Decompress one stream.

        It is given as what `compress` returned, or its bytes, or the path of a file
        or a binary file object that holds them.

        Options:
        - `model`: its name, which an embedded stream needs; default, what a
          `Compressed` knows, else the server's default model.
        - `profile`: how the stream is framed; default, what a `Compressed` knows,
          else "file".
        - `format`: "png", "webp", "bmp" or "tiff" for a file; default, raw pixels.
        - `timeout`: seconds, all attempts included; default, the client's.
        """
        return self._run(_plans.single(self._settings, _operations.decompress, stream, options))

    def decompress_to(
        self,
        stream: StreamInput,
        path: str | os.PathLike[str],
        **options: Unpack[DecompressToOptions],
    ) -> Path:
        """Decompress one stream to an image file, whose suffix says its format.

        The options are those of `decompress`, but for `format`. Returns the path.
        Raises ValueError if the suffix is none of .png, .webp, .bmp, .tif and .tiff.
        """
        image_format = format_of_path(path)
        return self.decompress(stream, format=image_format, **options).save(path)

    def decompress_batch(
        self, streams: Iterable[StreamInput], **options: Unpack[DecompressOptions]
    ) -> tuple[Decompressed | Failure, ...]:
        """Decompress many streams; the options are those of `decompress`.

        Returns one result for each stream, as `compress_batch` does.
        """
        return self._run(_plans.batch(self._settings, _operations.decompress, streams, options))

    def decompress_stream(
        self, streams: Iterable[StreamInput], **options: Unpack[DecompressOptions]
    ) -> Iterator[Decompressed | Failure]:
        """Decompress a long run of streams in bounded memory, as `compress_stream` does."""
        plan = _plans.stream(self._settings, _operations.decompress, streams, options)
        return self._iterate(plan)

    def evaluate(
        self, images: Iterable[ImageInput], **options: Unpack[EvaluateOptions]
    ) -> Evaluation:
        """Measure models and baselines on images: real bytes, distortion and time.

        The pooled measurements cover all images, however many.

        Options:
        - `models`: the models to measure; default, all that accept the image.
        - `baselines`: the classical codecs to measure; default, all of them; an
          empty list, none.
        - `profile`: how the models' streams are framed, and so counted.
        - `fit`: what to do with an image of a wrong size, as for `compress`.
        - `reconstructions`: True to return each model's reconstructions.
        - `timeout`: seconds for the answer on a few images; default, ten times the
          client's, since many settings are tried.
        """
        return self._run(_plans.evaluate(self._settings, images, options))

    def models(self, *, timeout: float | None = None) -> tuple[ModelInfo, ...]:
        """Return the loaded models in the order of their names."""
        return self._run(_plans.models(self._settings, timeout))

    def model(self, name: str | None = None, *, timeout: float | None = None) -> ModelInfo:
        """Return one loaded model; default, the server's default model."""
        return self._run(_plans.model(self._settings, name, timeout))

    def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """Return the server's version and limits."""
        return self._run(_plans.server_info(self._settings, timeout))

    def _session(self, plan: _plans.Plan[Any]) -> Session:
        inputs = map(plan.prepare, plan.inputs)
        return Session(partial(self._connect, grpc), self._settings, inputs)

    def _run(self, plan: _plans.Plan[T]) -> T:
        with self._session(plan) as session:
            command = step(plan.flow)
            while not isinstance(command, Return):
                command = step(plan.flow, session.perform(command))
            return command.value

    def _iterate(self, plan: _plans.Plan[None]) -> Iterator[Any]:
        with self._session(plan) as session:
            command = step(plan.flow)
            while not isinstance(command, Return):
                if isinstance(command, Emit):
                    yield from command.results
                command = step(plan.flow, session.perform(command))
