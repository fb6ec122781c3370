"""Streams to images: a model's are decoded together with other calls', classical ones at once."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kompakt.v1 import compression_pb2 as pb
from kompakt_codec.codec import Codec, crop_pixels, level_of
from kompakt_codec.crc import crc32c
from kompakt_codec.entropy import Symbols
from kompakt_codec.envelope import Envelope, split_envelope
from kompakt_codec.errors import CorruptStreamError, StreamError
from kompakt_codec.frame import Frame, Profile, parse_frame
from kompakt_codec.images import NO_METADATA, FileFormat, ImageLimits, Pixels, encode_image
from kompakt_service.call import Call, attempt
from kompakt_service.device import BatchEngine
from kompakt_service.errors import ITEM_ERRORS, ItemError
from kompakt_service.lanes import Batch, Job
from kompakt_service.metrics import OperationSeries
from kompakt_service.pipeline import Pipeline
from kompakt_service.plans import DecompressPlan
from kompakt_service.store import LoadedModel, Models

Decoded = tuple[Pixels, str]
"""Pixels (height, width, channels), and the name of the codec that the payload was of."""


@dataclass(slots=True, kw_only=True)
class Decompressed:
    """One stream's image."""

    pixels: Pixels
    encoded: bytes | None
    """The file, if one was asked for."""
    model: str
    codec: str


class Decompressor:
    """Decompresses streams with the models of a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def decompress(
        self,
        streams: Sequence[pb.CompressedImage],
        call: Call,
        plan: DecompressPlan,
        models: Models,
        *,
        admit: bool = False,
    ) -> list[Decompressed | ItemError]:
        """Decompress streams, each with the model that it names; results or errors, in order.

        With ``admit`` a call that would wait for too long is refused before anything is decoded.
        Raises CallError.
        """
        is_named = plan.model or plan.profile is Profile.EMBEDDED
        named = models.get(plan.model) if is_named else None
        limits = self._pipeline.limits
        done: list[Any] = attempt(lambda one: _parse(one, models, plan, limits), streams, call)
        groups, answer_bytes = self._grouped(done, plan)
        if len(streams) > 1:  # one alone may be larger than the file that is made of it
            self._pipeline.check_answer(answer_bytes)
        if admit:
            for model, group in groups.items():
                self._pipeline.lanes.admit(
                    call, self._pipeline.series("decompress", model), sum(group.pixels)
                )
        for item in done:
            if isinstance(item, ITEM_ERRORS):
                self._pipeline.count_failure("decompress", named.name if named else "", item)
        for model, group in groups.items():
            own = call if len(groups) == 1 else Call(call.deadline, call.is_wanted, call.caller)
            results = self._decompress_group(model, group, own, plan)
            if own is not call:
                call.timings.add(own.timings)
            for i, result in zip(group.members, results, strict=True):
                done[i] = result
        return done

    def _grouped(
        self, done: list[Any], plan: DecompressPlan
    ) -> tuple[dict[LoadedModel, "_Group"], int]:
        """What was parsed, by its model, and how many bytes it all takes in the answer.

        An item that takes too many for any answer becomes an error.
        """
        groups: dict[LoadedModel, _Group] = {}
        answer_bytes = 0
        for i, item in enumerate(done):
            if not isinstance(item, tuple):
                continue
            model, frame, envelope = item
            group = groups.get(model)
            if group is None:
                group = groups[model] = _Group(model.codec)
            num_bytes = group.pixels_of(frame) * model.codec.header.channels
            if plan.file_format is None:
                error = self._pipeline.too_large(
                    num_bytes, "the image's pixels", "ask for a file format"
                )
                if error is not None:
                    done[i] = error
                    continue
            elif envelope is not None:
                num_bytes += envelope.metadata_bytes
            answer_bytes += num_bytes
            group.add(i, frame, envelope)
        return {model: group for model, group in groups.items() if group.members}, answer_bytes

    def _decompress_group(
        self, model: LoadedModel, group: "_Group", call: Call, plan: DecompressPlan
    ) -> Sequence[Decompressed | ItemError]:
        """Decompress the frames of one model."""
        series = self._pipeline.series("decompress", model)
        decoded = self._decoded(model, group, call, series)
        started = time.monotonic()
        results = attempt(
            lambda item: self._decompressed(*item, plan.file_format, model.name),
            list(zip(decoded, group.envelopes, strict=True)),
            call,
        )
        call.timings.image += time.monotonic() - started
        self._pipeline.observe(series, call.timings)
        self._pipeline.count("decompress", model.name, results)
        return results

    def _decompressed(
        self,
        item: Decoded | ItemError,
        envelope: Envelope | None,
        file_format: FileFormat | None,
        model: str,
    ) -> Decompressed:
        if not isinstance(item, tuple):
            raise item
        pixels, codec = item
        encoded = None
        if file_format is not None:
            metadata = envelope.open() if envelope else NO_METADATA
            encoded = encode_image(pixels, file_format, metadata)
            error = self._pipeline.too_large(
                len(encoded), "the file's bytes", "ask for another format"
            )
            if error is not None:
                raise error
        return Decompressed(pixels=pixels, encoded=encoded, model=model, codec=codec)

    def _decoded(
        self, model: LoadedModel, group: "_Group", call: Call, series: OperationSeries
    ) -> list[Decoded | ItemError]:
        """Classical frames here, those of the model on the lanes, in parts that fit a batch."""
        frames = group.frames
        done: list[Any] = [None] * len(frames)
        classical = [i for i, frame in enumerate(frames) if frame.is_classical]
        if classical:
            started = time.monotonic()
            made = attempt(lambda i: model.codec.decode_classical(frames[i]), classical, call)
            for i, item in zip(classical, made, strict=True):
                done[i] = item
            call.timings.entropy += time.monotonic() - started
        for part, pixels in self._parts(group):
            job = Job(
                call,
                series,
                (model, series, (pixels // len(part)).bit_length()),
                decode_batch(model.codec, self._pipeline.device),
                [frames[i] for i in part],
                pixels,
            )
            for i, item in zip(part, self._pipeline.lanes.run(job), strict=True):
                done[i] = item
        return done

    def _parts(self, group: "_Group") -> Iterator[tuple[list[int], int]]:
        """Positions of the frames that hold symbols, as many as fit a batch, and their pixels."""
        lanes = self._pipeline.lanes
        part: list[int] = []
        pixels = 0
        for i, frame in enumerate(group.frames):
            if frame.is_classical:
                continue
            more = group.pixels[i]
            if part and (
                len(part) == lanes.max_batch_images or pixels + more > lanes.max_batch_pixels
            ):
                yield part, pixels
                part, pixels = [], 0
            part.append(i)
            pixels += more
        if part:
            yield part, pixels


class _Group:
    """The frames of one model."""

    def __init__(self, codec: Codec) -> None:
        self.members: list[int] = []
        """Their positions in the request."""
        self.frames: list[Frame] = []
        self.envelopes: list[Envelope | None] = []
        self.pixels: list[int] = []
        """As far as the frames tell truly; one that lies will be refused."""
        self._codec = codec
        self._pixels_of: dict[tuple[int, int] | None, int] = {}

    def pixels_of(self, frame: Frame) -> int:
        """How many pixels a frame's image has."""
        pixels = self._pixels_of.get(frame.size)
        if pixels is None:
            pixels = self._pixels_of[frame.size] = self._codec.num_pixels(frame)
        return pixels

    def add(self, member: int, frame: Frame, envelope: Envelope | None) -> None:
        """Add a frame, and the envelope around it."""
        self.members.append(member)
        self.frames.append(frame)
        self.envelopes.append(envelope)
        self.pixels.append(self.pixels_of(frame))


def decode_batch(
    codec: Codec, device: threading.Lock
) -> Callable[[Sequence[Frame], Batch], list[Decoded | StreamError]]:
    """What a lane does with frames that hold symbols of a model."""

    def run(frames: Sequence[Frame], batch: Batch) -> list[Decoded | StreamError]:
        started = time.monotonic()
        symbols = codec.decode(frames)
        batch.timings.entropy += time.monotonic() - started
        engine = BatchEngine(codec, frames[0].profile, device, batch)
        return _synthesised(engine, frames, symbols)

    return run


def _synthesised(
    engine: BatchEngine, frames: Sequence[Frame], symbols: Sequence[Symbols | StreamError]
) -> list[Decoded | StreamError]:
    codec = engine.codec
    sound = [i for i, item in enumerate(symbols) if isinstance(item, np.ndarray)]
    done: list[Any] = list(symbols)
    if sound:
        images = engine.synthesise([done[i] for i in sound], [level_of(frames[i]) for i in sound])
        for i, full in zip(sound, images, strict=True):
            done[i] = crop_pixels(full, codec.size_of(frames[i])), codec.header.name
    return done


def _parse(
    stream: pb.CompressedImage, models: Models, plan: DecompressPlan, limits: ImageLimits
) -> tuple[LoadedModel, Frame, Envelope | None]:
    data = stream.data
    if stream.crc32c and crc32c(data) != stream.crc32c:
        raise CorruptStreamError("the stream does not have the CRC-32C that came with it")
    envelope, data = split_envelope(data) if plan.profile is Profile.FILE else (None, data)
    frame = parse_frame(data, plan.profile)
    model = models.for_frame(frame.fingerprint_prefix, plan.model)
    size = model.codec.size_of(frame)
    if size in model.codec.sizes:  # else the frame is refused for that
        limits.check_size(*size)
    return model, frame, envelope
