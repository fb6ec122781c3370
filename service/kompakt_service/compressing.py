"""Images to streams: read and settled in the call's own thread, coded together with others'."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kompakt.v1 import compression_pb2 as pb
from kompakt_codec.allocator import return_free_blocks
from kompakt_codec.codec import Codec
from kompakt_codec.entropy import Symbols
from kompakt_codec.errors import CodecError
from kompakt_codec.images import Pixels
from kompakt_codec.interruption import interruptible
from kompakt_codec.quality import Contest, Made, QualityUnreachableError, open_contest
from kompakt_service.call import Call
from kompakt_service.device import BatchEngine
from kompakt_service.errors import ItemError, bare
from kompakt_service.lanes import Batch, Job
from kompakt_service.messages import check_level, read_image, told_shape
from kompakt_service.metrics import OperationSeries
from kompakt_service.pipeline import Pipeline
from kompakt_service.plans import CompressPlan
from kompakt_service.store import LoadedModel

_PART_BYTES = 1 << 24
"""Of pixels: a request is worked on in parts of little more."""

_MANY_PIXELS = 1 << 24
"""What it took to receive and read so many is given back before they are compressed."""

_Read = tuple[Pixels, bool, bytes]
"""An image's pixels, whether they were fitted, and its metadata's envelope."""


@dataclass(slots=True, kw_only=True)
class Compressed:
    """One image's stream, and what is known of the image."""

    stream: bytes
    metadata_bytes: int
    """How many of them its metadata takes."""
    shape: tuple[int, ...]
    """(height, width, channels) of what was compressed."""
    fitted: bool
    codec: str
    level: float | None
    mse: float | None
    symbols: Symbols | None
    """Only if they were asked for."""
    reconstruction: Pixels | None


class Compressor:
    """Compresses images with the models of a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def model_for(self, images: Sequence[pb.Image], plan: CompressPlan) -> LoadedModel:
        """The model that a request names, or else the default.

        If nothing is named and the default does not accept the first image that can be read as it
        is, the first other by name that does, so that nothing is fitted which need not be. Raises
        ServiceError UNKNOWN_MODEL.
        """
        models = self._pipeline.store.snapshot()
        default = models.get(plan.model)
        if plan.model:
            return default
        told = (told_shape(image, self._pipeline.limits) for image in images)
        shape = next((shape for shape in told if shape is not None), None)
        if shape is None or shape[:2] in default.codec.sizes:
            return default
        return next(iter(models.taking(shape)), default)

    def admit(self, images: Sequence[pb.Image], model: LoadedModel, call: Call) -> None:
        """Refuse a call before its pixels are read, if it would wait for too long.

        Raises CallError QUEUE_FULL.
        """
        if self._pipeline.lanes.is_free():
            return
        header = model.codec.header
        pixels = header.height * header.width * len(images)
        if not model.codec.sizes.is_one:
            raws = (image.raw for image in images)
            pixels = max(pixels, sum(raw.height * raw.width for raw in raws))
        self._pipeline.lanes.admit(call, self._pipeline.series("compress", model), pixels)

    def compress(
        self, images: list[pb.Image], model: LoadedModel, call: Call, plan: CompressPlan
    ) -> list[Compressed | ItemError]:
        """Compress images with one model; each item's result or error, in order.

        The list is emptied as they are read: a request that nobody else holds is free after that.
        Only with ``plan.latents`` do the results keep the symbols. Raises CallError, and
        ServiceError for a level that the model does not have.
        """
        check_level(plan.demand, model.codec)
        series = self._pipeline.series("compress", model)
        results: list[Compressed | ItemError] = []
        answer_bytes = 0
        for read in self._read(images, model.codec, call, plan):
            if plan.reconstruct or plan.latents:
                answer_bytes += self._answer_bytes(read, model.codec, plan)
                self._pipeline.check_answer(answer_bytes)
            sound = [item[0] for item in read if isinstance(item, tuple)]
            contests = self._contests(sound, model, call, plan, series) if sound else []
            results += self._settled(read, contests, call, plan)
        self._pipeline.observe(series, call.timings)
        self._pipeline.count("compress", model.name, results)
        for item in results:
            if isinstance(item, Compressed):
                series.observe_stream(len(item.stream), math.prod(item.shape))
        return results

    def _read(
        self, images: list[pb.Image], codec: Codec, call: Call, plan: CompressPlan
    ) -> Iterator[list[_Read | ItemError]]:
        """Images' pixels, in parts that bound the memory of a request's, and fit a batch."""
        lanes, limits = self._pipeline.lanes, self._pipeline.limits
        part: list[_Read | ItemError] = []
        num_bytes = num_pixels = 0
        started = time.monotonic()
        images.reverse()
        while images:
            call.check()
            image = images.pop()
            try:
                read = read_image(
                    image,
                    codec,
                    plan.fit,
                    limits,
                    takers=self._takers,
                    keep_metadata=plan.keep_metadata,
                )
            except CodecError as exc:
                part.append(bare(exc))
            else:
                part.append(read)
                num_bytes += read[0].size
                num_pixels += read[0].shape[0] * read[0].shape[1]
            del image
            if (
                num_bytes >= _PART_BYTES
                or num_pixels >= lanes.max_batch_pixels
                or len(part) >= lanes.max_batch_images
            ):
                call.timings.image += time.monotonic() - started
                yield part
                part, num_bytes, num_pixels = [], 0, 0
                started = time.monotonic()
        call.timings.image += time.monotonic() - started
        if part:
            yield part

    def _takers(self, shape: tuple[int, ...]) -> list[str]:
        """The models that accept an image of a shape as it is."""
        return [model.name for model in self._pipeline.store.snapshot().taking(shape)]

    def _answer_bytes(self, read: list[_Read | ItemError], codec: Codec, plan: CompressPlan) -> int:
        """What is returned beside the streams; an image that asks for too much of it is refused."""
        total = 0
        for i, item in enumerate(read):
            if isinstance(item, tuple):
                num_bytes = _answer_bytes(item[0], codec, plan)
                error = self._pipeline.too_large(
                    num_bytes, "the image's reconstruction and latents", "leave them out"
                )
                if error is None:
                    total += num_bytes
                else:
                    read[i] = error
        return total

    def _contests(
        self,
        images: Sequence[Pixels],
        model: LoadedModel,
        call: Call,
        plan: CompressPlan,
        series: OperationSeries,
    ) -> Sequence[tuple[Contest, int]]:
        """The part of the work that is shared with other calls."""
        pixels = sum(image.shape[0] * image.shape[1] for image in images)
        if pixels >= _MANY_PIXELS:
            return_free_blocks()
        job = Job(
            call,
            series,
            (model, plan, (pixels // len(images)).bit_length()),
            compress_batch(model.codec, plan, self._pipeline.device),
            images,
            pixels,
        )
        return self._pipeline.lanes.run(job)

    @staticmethod
    def _settled(
        read: Sequence[_Read | ItemError],
        contests: Sequence[tuple[Contest, int]],
        call: Call,
        plan: CompressPlan,
    ) -> Iterator[Compressed | ItemError]:
        started = time.monotonic()
        rest = iter(contests)
        for item in read:
            if not isinstance(item, tuple):
                yield item
                continue
            call.check()
            contest, index = next(rest)
            with interruptible(call.check):
                made = contest.settle(index)
            yield _compressed(made, *item, latents=plan.latents)
        call.timings.entropy += time.monotonic() - started


def compress_batch(
    codec: Codec, plan: CompressPlan, device: threading.Lock
) -> Callable[[Sequence[Pixels], Batch], list[tuple[Contest, int]]]:
    """What a lane does with images: gives each one's contest, and its number there.

    The call settles it. The classical codecs' searches thus hold up nobody else's images.
    """

    def run(images: Sequence[Pixels], batch: Batch) -> list[tuple[Contest, int]]:
        started = time.monotonic()
        engine = BatchEngine(codec, plan.profile, device, batch)
        contest = open_contest(engine, images, plan.demand, reconstruct=plan.reconstruct)
        timings = batch.timings
        timings.entropy += time.monotonic() - started - timings.queue - timings.transform
        return [(contest, i) for i in range(len(images))]

    return run


def _answer_bytes(pixels: Pixels, codec: Codec, plan: CompressPlan) -> int:
    size = (pixels.shape[0], pixels.shape[1])
    num_symbols = math.prod(codec.latent_shape(size)) if plan.latents else 0
    return pixels.size * plan.reconstruct + 2 * num_symbols


def _compressed(
    made: Made | QualityUnreachableError,
    pixels: Pixels,
    fitted: bool,
    envelope: bytes,
    *,
    latents: bool,
) -> Compressed | QualityUnreachableError:
    if isinstance(made, QualityUnreachableError):
        return made
    return Compressed(
        stream=envelope + made.stream,
        metadata_bytes=len(envelope),
        shape=pixels.shape,
        fitted=fitted,
        codec=made.codec,
        level=made.level,
        mse=made.mse,
        symbols=made.symbols if latents else None,
        reconstruction=made.reconstruction,
    )
