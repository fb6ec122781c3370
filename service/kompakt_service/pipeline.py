"""The way of images through the service: read, search for the demanded quality; and back.

Each step works on what is left of the items: one that fails carries its error from there on and
never holds up its neighbours.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kompakt.v1 import compression_pb2 as pb
from kompakt_codec.codec import Codec
from kompakt_codec.crc import crc32c
from kompakt_codec.errors import CodecError, CorruptStreamError
from kompakt_codec.frame import Frame, Profile, parse_frame
from kompakt_codec.images import FileFormat, Fit, ImageLimits, Pixels
from kompakt_codec.quality import Demand, Made, QualityUnreachableError, compress_to
from kompakt_service.batcher import Batcher
from kompakt_service.call import STAGES, Call, Timings, attempt
from kompakt_service.decoding import decode_frames
from kompakt_service.device import CallEngine, Device
from kompakt_service.errors import CallError, ItemError, ServiceError
from kompakt_service.messages import read_image, write_image
from kompakt_service.metrics import Metrics
from kompakt_service.store import LoadedModel, ModelStore

_PART_BYTES = 1 << 24
"""Of pixels: a request is worked on in parts of little more."""

_Read = tuple[Pixels, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressed:
    """One image's stream, and what is known of the image."""

    made: Made
    shape: tuple[int, int, int]
    """(height, width, channels) of what was compressed."""
    fitted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decompressed:
    """One stream's image."""

    image: pb.Image
    shape: tuple[int, int, int]
    model: str
    codec: str


class Pipeline:
    """Compresses and decompresses with the models of a store, through one device's batcher."""

    def __init__(
        self,
        store: ModelStore,
        batcher: Batcher,
        metrics: Metrics,
        *,
        limits: ImageLimits,
        max_answer_bytes: int,
    ) -> None:
        self.store = store
        self.limits = limits
        self.device = Device(batcher)
        self._metrics = metrics
        self._max_answer_bytes = max_answer_bytes

    def compress(
        self,
        images: Sequence[pb.Image],
        model: LoadedModel,
        call: Call,
        *,
        demand: Demand,
        profile: Profile,
        fit: Fit,
        reconstruct: bool,
        latents: bool,
    ) -> list[Compressed | ItemError]:
        """Compress images with one model; each item's result or error, in order.

        Only with ``latents`` do the results keep the symbols. Raises CallError.
        """
        engine = CallEngine(model.codec, profile, self.device, call)
        results: list[Compressed | ItemError] = []
        answer_bytes: list[int] = []
        for read in self._read(images, model.codec, fit, call):
            sound = [item[0] for item in read if isinstance(item, tuple)]
            answer_bytes += [_answer_bytes(p, model.codec, reconstruct, latents) for p in sound]
            self.check_answer(answer_bytes)
            made = iter(compress_to(engine, sound, demand, reconstruct=reconstruct))
            results += [
                _compressed(next(made), *item, latents=latents) if isinstance(item, tuple) else item
                for item in read
            ]
        self._observe("compress", model.name, results, call.timings)
        return results

    def _read(
        self, images: Sequence[pb.Image], codec: Codec, fit: Fit, call: Call
    ) -> Iterator[list[_Read | ItemError]]:
        """Images' pixels, in parts that bound the memory of a request's."""
        part: list[_Read | ItemError] = []
        num_bytes = 0
        for image in images:
            with call.timings.measure("image"):
                part += attempt(lambda one: read_image(one, codec, fit, self.limits), [image], call)
            num_bytes += part[-1][0].size if isinstance(part[-1], tuple) else 0
            if num_bytes >= _PART_BYTES:
                yield part
                part, num_bytes = [], 0
        yield part

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
        parsed = attempt(lambda stream: self._parse(stream, named, profile), streams, call)
        done: dict[int, Decompressed | ItemError] = {}
        groups: dict[str, dict[int, Frame]] = {}
        for i, item in enumerate(parsed):
            if isinstance(item, tuple):
                groups.setdefault(item[0].name, {})[i] = item[1]
            else:
                done[i] = item
        self.count("decompress", named.name if named else "", done.values())
        models = {name: self.store.get(name) for name in groups}
        self.check_answer(
            _num_samples(models[name].codec, frame)
            for name, frames in groups.items()
            for frame in frames.values()
        )
        for name, frames in groups.items():
            done |= self._decompress_group(models[name], frames, call, file_format)
        return [done[i] for i in range(len(parsed))]

    def _parse(
        self, stream: pb.CompressedImage, named: LoadedModel | None, profile: Profile
    ) -> tuple[LoadedModel, Frame]:
        data = stream.data
        if stream.crc32c and crc32c(data) != stream.crc32c:
            raise CorruptStreamError("the stream does not have the CRC-32C that came with it")
        frame = parse_frame(data, profile)
        return named or self.store.by_fingerprint(frame.fingerprint_prefix or b""), frame

    def _decompress_group(
        self,
        model: LoadedModel,
        frames: dict[int, Frame],
        call: Call,
        file_format: FileFormat | None,
    ) -> dict[int, Decompressed | ItemError]:
        """Decompress the frames of one model, by their positions."""
        part = Call(call.deadline, call.is_wanted)
        decoded = decode_frames(model.codec, list(frames.values()), self.device, part)
        with part.timings.measure("image"):
            results = attempt(
                lambda item: (
                    _decompressed(*item, file_format, model.name)
                    if isinstance(item, tuple)
                    else item
                ),
                decoded,
                part,
            )
        self._observe("decompress", model.name, results, part.timings)
        call.timings.add(part.timings)
        return dict(zip(frames, results, strict=True))

    def check_answer(self, sizes: Iterable[int]) -> None:
        """Raise CallError unless decoded images of so many bytes fit into one message."""
        num_bytes = sum(sizes)
        if num_bytes > self._max_answer_bytes:
            raise CallError(
                "TOO_MANY_IMAGES",
                f"the answer would hold {num_bytes} bytes of pixels or latents, over the limit of "
                f"{self._max_answer_bytes} a message: split the request",
            )

    def count(self, operation: str, model: str, results: Iterable[object]) -> None:
        """Count items by their outcome."""
        for item in results:
            outcome = item.reason if isinstance(item, (CodecError, ServiceError)) else "OK"
            self._metrics.images.labels(operation, model, outcome).inc()

    def _observe(
        self,
        operation: str,
        model: str,
        results: Sequence[Compressed | Decompressed | ItemError],
        timings: Timings,
    ) -> None:
        for stage in STAGES:
            self._metrics.stage.labels(stage, operation, model).observe(getattr(timings, stage))
        self.count(operation, model, results)
        for item in results:
            if isinstance(item, Compressed):
                made = item.made
                self._metrics.observe_stream(model, len(made.stream), math.prod(item.shape))


def _num_samples(codec: Codec, frame: Frame) -> int:
    """Of a frame's image, as far as the frame says so truly; one that lies will be refused."""
    return codec.num_pixels(frame) * codec.header.channels


def _answer_bytes(pixels: Pixels, codec: Codec, reconstruct: bool, latents: bool) -> int:
    size = (pixels.shape[0], pixels.shape[1])
    num_symbols = math.prod(codec.latent_shape(size)) if latents else 0
    return pixels.size * reconstruct + 2 * num_symbols


def _compressed(
    made: Made | QualityUnreachableError, pixels: Pixels, fitted: bool, *, latents: bool
) -> Compressed | QualityUnreachableError:
    if isinstance(made, QualityUnreachableError):
        return made
    kept = made if latents else replace(made, symbols=None)
    return Compressed(made=kept, shape=_shape(pixels), fitted=fitted)


def _decompressed(
    pixels: Pixels, codec: str, file_format: FileFormat | None, model: str
) -> Decompressed:
    image = write_image(pixels, file_format)
    return Decompressed(image=image, shape=_shape(pixels), model=model, codec=codec)


def _shape(pixels: Pixels) -> tuple[int, int, int]:
    height, width, channels = pixels.shape
    return height, width, channels
