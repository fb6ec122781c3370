"""The synchronous client."""

from __future__ import annotations

import os
import queue
from collections.abc import Generator, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

from kompakt_client import _operations, _plans
from kompakt_client._base import BaseClient
from kompakt_client._commands import Return, step
from kompakt_client._convert import to_evaluation
from kompakt_client._inputs import ImageInput, StreamInput
from kompakt_client._link import Event
from kompakt_client._measurements import Evaluation, ModelInfo, ServerInfo
from kompakt_client._names import format_of_path
from kompakt_client._options import (
    CompressOptions,
    DecompressOptions,
    DecompressToOptions,
    EvaluateOptions,
)
from kompakt_client._results import Compressed, Decompressed, Failure
from kompakt_client._session import Session, drive

T = TypeVar("T")


class Client(BaseClient):
    """A client of a Kompakt server. Threads may share it.

        with Client("localhost:50051") as client:
            compressed = client.compress("digit.png")
            pixels = client.decompress(compressed).to_numpy()

    Every method raises a `KompaktError` if its call fails, TypeError, ValueError or
    OSError for an input that cannot be sent, and RuntimeError if the client is closed.
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
        """Close the connection; calls under way and later ones raise RuntimeError."""
        for channel in self._disconnect(grpc):
            channel.close()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the server answers.

        Raises UnavailableError if it did not within the timeout, in seconds, at most
        a year.
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
          "refuse" it (default), or scale it to "contain", "cover" or "stretch". All but
          "refuse" also lay transparency over black and round 16 bits a channel to 8.
        - one quality at most, which the stream is measured to have, or else the image
          fails with a `QualityUnreachableError`: `min_psnr_db` in dB or `max_mse` on
          [0, 1], the smallest stream found that has it; `max_bytes`, framing included,
          the best stream found that fits; `lossless`, True to lose nothing; `level`, a
          rate level of the model, such as 9, or 9.5 if the model `has_eighths`. Default:
          the model's default level.
        - `fallback`: "best" (default) lets a classical codec (DEFLATE, PNG, WebP) make
          the stream of an image for which it needs fewer bytes at no worse quality;
          "thorough" lets AVIF too, which takes seconds of a core for a photograph;
          "never" does not.
        - `keep_metadata`: True to keep EXIF and XMP with the stream, for the PNG, WebP
          and JPEG files that it is decompressed to; default, they are dropped. Only
          files have any: of an array or a PIL image nothing but its pixels is sent. For
          the "file" profile; it comes on top of `max_bytes`.
        - `label`: the image's label, for a model that is conditioned on labels; its
          level is asked of the server first. Not together with a quality.
        - `latents`: True to return the quantised latents too.
        - `reconstruction`: True to return what the stream decodes to, and its
          distortion.
        - `timeout`: seconds, all attempts included, at most a year; default, the
          client's, but with a quality other than a level or with "thorough" ten times
          that, since many settings are tried.
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

    def compress_many(
        self,
        images: Iterable[ImageInput],
        *,
        ordered: bool = True,
        **options: Unpack[CompressOptions],
    ) -> Generator[Compressed | Failure, None, None]:
        """Compress any number of images in bounded memory; the options are those of `compress`.

        Yields one result for each image, in order, or with `ordered=False` as they are
        completed; each has its `index`. An image that failed has a `Failure`. Images
        are read in the caller's thread, between results, and never more than 4 full
        messages (256 small images) for each connection ahead of them.

        What reading an image raises, such as FileNotFoundError, ends the run: it is raised
        when the results of all images before that one are handed out.

        Images under way when a connection is lost, or a busy server refuses them, are
        sent again. The timeout is for each answer, without the time that the images'
        source and the results' consumer take.
        """
        many = _plans.many(self._settings, _operations.compress, images, options)
        return self._iterate(many, ordered=ordered)

    def decompress(self, stream: StreamInput, **options: Unpack[DecompressOptions]) -> Decompressed:
        """Decompress one stream.

        It is given as what `compress` returned, or its bytes, or the path of a file
        or a binary file object that holds them.

        Options:
        - `model`: its name, which an embedded stream needs; default, what a
          `Compressed` knows, else the server's default model.
        - `profile`: how the stream is framed; default, what a `Compressed` knows,
          else "file".
        - `format`: "png", "webp", "bmp" or "tiff" for a lossless file, "jpeg" for one of
          quality 95; default, raw pixels.
        - `timeout`: seconds, all attempts included, at most a year; default, the client's.
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
        Raises ValueError if the suffix is none of .png, .webp, .bmp, .tif, .tiff, .jpg
        and .jpeg.
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

    def decompress_many(
        self,
        streams: Iterable[StreamInput],
        *,
        ordered: bool = True,
        **options: Unpack[DecompressOptions],
    ) -> Generator[Decompressed | Failure, None, None]:
        """Decompress any number of streams in bounded memory, as `compress_many` does."""
        many = _plans.many(self._settings, _operations.decompress, streams, options)
        return self._iterate(many, ordered=ordered)

    def evaluate(
        self, images: Iterable[ImageInput], **options: Unpack[EvaluateOptions]
    ) -> Evaluation:
        """Measure models and baselines on images: real bytes, distortion and time.

        The pooled measurements cover all images, however many. What reading an image
        raises is raised at once, without a result.

        Options:
        - `models`: the models to measure; default, all that accept the image.
        - `baselines`: the classical codecs to measure; default, all of them; an
          empty list, none.
        - `profile`: how the models' streams are framed, and so counted.
        - `fit`: what to do with an image of a wrong size, as for `compress`.
        - `level`: the rate level at which the models that have it are measured;
          default, each model's default level.
        - `reconstructions`: True to return each model's reconstructions.
        - `timeout`: seconds for the answer on an image, at most a year; default,
          ten times the client's, since many settings are tried.
        """
        many = _plans.evaluate(self._settings, images, options)
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        run = self._begin(many, events.put)
        with self._until_closed():
            results = tuple(drive(run, events, map(many.operation.prepare, many.inputs)))
        return to_evaluation(results, run.summary)

    def models(self, *, timeout: float | None = None) -> tuple[ModelInfo, ...]:
        """Return the loaded models in the order of their names.

        Of a model with several loaded versions the current one comes first.
        """
        return self._run(_plans.models(self._settings, timeout))

    def model(self, name: str | None = None, *, timeout: float | None = None) -> ModelInfo:
        """Return one loaded model, by NAME or NAME@VERSION; default, the server's default."""
        return self._run(_plans.model(self._settings, name, timeout))

    def load_model(
        self, path: str, *, promote: bool = False, timeout: float | None = None
    ) -> ModelInfo:
        """Load a checkpoint that lies in the server's directory of models, and return it.

        The server tests it first. If its name is loaded already it is another version
        of that model, and answers to `ModelInfo.reference` until it is promoted.

        This and the three methods below are for servers that are run with `--admin`;
        they raise a `ModelChangeError` if the change cannot be made, and an
        `AuthenticationError` if it may not be. They are tried once only. Their default
        timeout is ten times the client's.
        """
        plan = _plans.load_model(self._settings, path, promote=promote, timeout=timeout)
        return self._run(plan)

    def unload_model(
        self, model: str, *, all_versions: bool = False, timeout: float | None = None
    ) -> tuple[str, ...]:
        """Unload a version that is not current, NAME@VERSION, or all versions of NAME.

        Calls that began before end as they began. Returns what was unloaded.
        """
        return self._run(
            _plans.unload_model(self._settings, model, all_versions=all_versions, timeout=timeout)
        )

    def promote_model(self, model: str, *, timeout: float | None = None) -> ModelInfo:
        """Make a loaded version, NAME@VERSION, the one that answers to NAME."""
        return self._run(_plans.promote_model(self._settings, model, timeout))

    def rollback_model(self, name: str, *, timeout: float | None = None) -> ModelInfo:
        """Make the version current again that was so before, and return it."""
        return self._run(_plans.rollback_model(self._settings, name, timeout))

    def server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """Return the server's version and limits."""
        return self._run(_plans.server_info(self._settings, timeout))

    def _run(self, plan: _plans.Plan[T]) -> T:
        inputs = map(plan.prepare, plan.inputs)
        session = Session(partial(self._connect, grpc), self._settings, inputs)
        command = step(plan.flow)
        with self._until_closed():
            while not isinstance(command, Return):
                command = step(plan.flow, session.perform(command))
        return command.value

    def _iterate(self, many: _plans.Many[Any], *, ordered: bool) -> Generator[Any, None, None]:
        self._run(many.preparation())
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        run = self._begin(many, events.put, ordered=ordered)
        with self._until_closed():
            yield from drive(run, events, map(many.operation.prepare, many.inputs))
