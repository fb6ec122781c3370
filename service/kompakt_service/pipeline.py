"""The way of images through the service: read, transform in batches, code, frame; and back.

Each step works on what is left of the items: one that fails carries its error from there on and
never holds up its neighbours.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from kompakt.v1 import compression_pb2 as pb
from kompakt_codec.codec import Codec
from kompakt_codec.crc import crc32c
from kompakt_codec.entropy import Symbols
from kompakt_codec.errors import CodecError, CorruptStreamError
from kompakt_codec.frame import Profile, parse_frame
from kompakt_codec.images import FileFormat, Fit, ImageLimits, Pixels
from kompakt_codec.metrics import mse
from kompakt_service.batcher import Array, Batcher, Operation, Output
from kompakt_service.call import Call
from kompakt_service.errors import ServiceError
from kompakt_service.messages import read_image, write_image
from kompakt_service.metrics import Metrics
from kompakt_service.store import LoadedModel, ModelStore

ItemError = CodecError | ServiceError
_Item = TypeVar("_Item")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressed:
    """One image's stream, and what was asked for beside it."""

    stream: bytes
    pixels: Pixels
    fitted: bool
    symbols: Symbols
    reconstruction: Pixels | None = None
    mse: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decompressed:
    """One stream's image."""

    image: pb.Image
    shape: tuple[int, int, int]
    model: str


def attempt(
    function: Callable[[_Item], _Value], items: Iterable[_Item]
) -> list[_Value | ItemError]:
    """Apply a function to each item; one that fails gives its error."""
    return [_attempt(function, item) for item in items]


def _attempt(function: Callable[[_Item], _Value], item: _Item) -> _Value | ItemError:
    try:
        return function(item)
    except (CodecError, ServiceError) as exc:
        return exc


class Pipeline:
    """Compresses and decompresses with the models of a store, through one device's batcher."""

    def __init__(
        self, store: ModelStore, batcher: Batcher, limits: ImageLimits, metrics: Metrics
    ) -> None:
        self.store = store
        self.limits = limits
        self._batcher = batcher
        self._metrics = metrics

    def compress(
        self,
        images: Sequence[pb.Image],
        model: LoadedModel,
        call: Call,
        *,
        profile: Profile,
        fit: Fit,
        reconstruct: bool,
    ) -> list[Compressed | ItemError]:
        """Compress images with one model; each item's result or error, in order."""
        codec = model.codec
        with call.timings.measure("image"):
            read = attempt(lambda i: read_image(i, codec.header.spec, fit, self.limits), images)
        sound = [item for item in read if isinstance(item, tuple)]
        symbols = self._transform(codec, Operation.ANALYSE, [p for p, _ in sound], call)
        with call.timings.measure("entropy"):
            streams = [codec.encode(s, profile=profile) for s in symbols]
        decoded = self._transform(codec, Operation.SYNTHESISE, symbols, call) if reconstruct else []
        made = iter(
            Compressed(
                stream=stream,
                pixels=pixels,
                fitted=fitted,
                symbols=s,
                reconstruction=decoded[i] if reconstruct else None,
                mse=mse(pixels, decoded[i]) if reconstruct else None,
            )
            for i, ((pixels, fitted), s, stream) in enumerate(
                zip(sound, symbols, streams, strict=True)
            )
        )
        results = [next(made) if isinstance(item, tuple) else item for item in read]
        self._observe("compress", model.name, results, call)
        return results

    def decompress(
        self,
        streams: Sequence[pb.CompressedImage],
        call: Call,
        *,
        model_name: str,
        profile: Profile,
        file_format: FileFormat | None,
    ) -> list[Decompressed | ItemError]:
        """Decompress streams, each with the model that it names; results or errors, in order."""
        named = self.store.get(model_name) if model_name or profile is Profile.EMBEDDED else None
        with call.timings.measure("entropy"):
            decoded = attempt(lambda s: self._decode(s, named, profile), streams)
        done: dict[int, Decompressed | ItemError] = {}
        groups: dict[str, list[tuple[int, Symbols]]] = {}
        for i, item in enumerate(decoded):
            if isinstance(item, tuple):
                groups.setdefault(item[0].name, []).append((i, item[1]))
            else:
                done[i] = item
        self._count("decompress", "", done.values())
        for name, members in groups.items():
            made = self._synthesise(self.store.get(name), members, call, file_format)
            self._observe("decompress", name, made.values(), call)
            done |= made
        return [done[i] for i in range(len(decoded))]

    def _synthesise(
        self,
        model: LoadedModel,
        members: Sequence[tuple[int, Symbols]],
        call: Call,
        file_format: FileFormat | None,
    ) -> dict[int, Decompressed | ItemError]:
        symbols = [s for _, s in members]
        images = self._transform(model.codec, Operation.SYNTHESISE, symbols, call)
        with call.timings.measure("image"):
            return {
                i: _decompressed(pixels, file_format, model.name)
                for (i, _), pixels in zip(members, images, strict=True)
            }

    def _decode(
        self, stream: pb.CompressedImage, named: LoadedModel | None, profile: Profile
    ) -> tuple[LoadedModel, Symbols]:
        data = stream.data
        if stream.crc32c and crc32c(data) != stream.crc32c:
            raise CorruptStreamError("the stream does not have the CRC-32C that came with it")
        frame = parse_frame(data, profile)
        model = named or self.store.by_fingerprint(frame.fingerprint_prefix or b"")
        return model, model.codec.decode(frame)

    def _transform(
        self, codec: Codec, operation: Operation, arrays: Sequence[Array], call: Call
    ) -> list[Array]:
        """Run arrays of one shape through the device; the times go to the call."""
        if not arrays:
            return []
        call.check()
        size = self._batcher.max_batch_images
        futures = [
            self._submit(codec, operation, np.stack(arrays[start : start + size]), call)
            for start in range(0, len(arrays), size)
        ]
        outputs = [future.result() for future in futures]
        call.timings.queue += outputs[0].queue_seconds
        call.timings.transform += sum(output.transform_seconds for output in outputs)
        return [array for output in outputs for array in output.array]

    def run(self, codec: Codec, operation: Operation, array: Array, call: Call) -> Output:
        """Run one batch (N, …) through the device."""
        output = self._submit(codec, operation, array, call).result()
        call.timings.queue += output.queue_seconds
        call.timings.transform += output.transform_seconds
        return output

    def _submit(
        self, codec: Codec, operation: Operation, array: Array, call: Call
    ) -> Future[Output]:
        return self._batcher.submit(
            codec, operation, array, deadline=call.deadline, is_wanted=call.is_wanted
        )

    def _observe(
        self,
        operation: str,
        model: str,
        results: Iterable[Compressed | Decompressed | ItemError],
        call: Call,
    ) -> None:
        for stage in ("image", "queue", "transform", "entropy"):
            self._metrics.stage.labels(stage, operation, model).observe(
                getattr(call.timings, stage)
            )
        self._count(operation, model, results)

    def _count(
        self,
        operation: str,
        model: str,
        results: Iterable[Compressed | Decompressed | ItemError],
    ) -> None:
        for item in results:
            outcome = item.reason if isinstance(item, (CodecError, ServiceError)) else "OK"
            self._metrics.images.labels(operation, model, outcome).inc()
            if isinstance(item, Compressed):
                self._metrics.observe_stream(model, len(item.stream), item.pixels.size)


def _decompressed(pixels: Pixels, file_format: FileFormat | None, model: str) -> Decompressed:
    height, width, channels = pixels.shape
    return Decompressed(
        image=write_image(pixels, file_format), shape=(height, width, channels), model=model
    )
