"""Evaluate: models and baselines on the same pixels, measured on real streams and real files."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kompakt.v1 import compression_pb2 as pb
from kompakt_codec.baselines import BASELINES, LossyBaseline, measure
from kompakt_codec.codec import crop_pixels
from kompakt_codec.errors import StreamError, WrongSizeError
from kompakt_codec.frame import Profile, parse_frame
from kompakt_codec.images import Fit, Pixels
from kompakt_codec.metrics import mse, psnr_db, ssim
from kompakt_service.call import Call
from kompakt_service.device import BatchEngine
from kompakt_service.lanes import Batch, Job
from kompakt_service.messages import decode_source, describe_sizes, fit_to_codec, raw_image
from kompakt_service.pipeline import Pipeline
from kompakt_service.pooling import Pool
from kompakt_service.store import LoadedModel, Models


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an Evaluate call measures; no models means those that accept the image."""

    loaded: Models
    """What was loaded when the call began."""
    models: Sequence[LoadedModel]
    baselines: Sequence[str]
    fit: Fit
    profile: Profile
    return_reconstructions: bool
    level: float | None
    """None for each model's default."""


class Evaluator:
    """Measures one image at a time, so that times are those of a lone image."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def evaluate(self, image: pb.Image, plan: Plan, call: Call, pool: Pool) -> pb.EvaluateResult:
        """Measure one image and add it to the pool. Raises CodecError or ServiceError."""
        pixels, _ = decode_source(image, self._pipeline.limits, plan.fit)
        models = plan.models or _accepting(plan, pixels)
        result = pb.EvaluateResult()
        sound: list[tuple[list[pb.Measurement], tuple[int, ...]]] = []
        for model in models:
            call.check()
            fitted, _ = fit_to_codec(pixels, model.codec, plan.fit)
            measurement, decoded = self._measure_model(model, fitted, plan, call)
            measured = [measurement]
            if model is models[0]:
                measured += _baselines(plan.baselines, fitted, call)
            measured += _baselines(plan.baselines, fitted, call, reference=measurement)
            sound.append((measured, fitted.shape))
            result.measurements.extend(measured)
            if plan.return_reconstructions:
                result.reconstructions.add(model=measurement.codec, image=raw_image(decoded))
        for measured, shape in sound:  # only now: an image that fails is not in the pool at all
            pool.add(measured, shape)
        return result

    def _measure_model(
        self, model: LoadedModel, pixels: Pixels, plan: Plan, call: Call
    ) -> tuple[pb.Measurement, Pixels]:
        job = Job(
            call,
            self._pipeline.series("evaluate", model),
            object(),  # equal to no other: the times are those of a lone image
            lambda images, batch: [_coded(self._pipeline.device, model, images[0], plan, batch)],
            [pixels],
            pixels.shape[0] * pixels.shape[1],
        )
        [coded] = self._pipeline.lanes.run(job)
        measurement = _measurement(
            plan.loaded.reference(model),
            pixels,
            setting="" if plan.level is None else f"level={plan.level:g}",
            size_bytes=len(coded.stream),
            distortion=mse(pixels, coded.decoded),
            similarity=ssim(pixels, coded.decoded),
            encode_seconds=coded.encode_seconds,
            decode_seconds=coded.decode_seconds,
        )
        return measurement, coded.decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coded:
    stream: bytes
    decoded: Pixels
    encode_seconds: float
    decode_seconds: float


def _coded(
    device: threading.Lock, model: LoadedModel, pixels: Pixels, plan: Plan, batch: Batch
) -> _Coded:
    """One image coded, decoded, and timed."""
    codec, profile = model.codec, plan.profile
    levels = [codec.header.default_level if plan.level is None else plan.level]
    timings = batch.timings
    engine = BatchEngine(codec, profile, device, batch)
    started = time.perf_counter()
    symbols = engine.analyse([pixels], levels)
    [stream] = engine.encode(symbols, levels, [pixels.shape[:2]])
    encoded = time.perf_counter()
    waited = timings.queue
    [decoded] = codec.decode([parse_frame(stream, profile)])
    if isinstance(decoded, StreamError):
        raise decoded
    [full] = engine.synthesise([decoded], levels)
    ended = time.perf_counter()
    return _Coded(
        stream=stream,
        decoded=crop_pixels(full, pixels.shape),
        encode_seconds=encoded - started - waited,
        decode_seconds=ended - encoded - (timings.queue - waited),
    )


def has_level(model: LoadedModel, level: float | None) -> bool:
    """Whether a model can be measured at a rate level; at its default, if it is None.

    Labels are no rates.
    """
    codec = model.codec
    return level is None or (not codec.header.labels and level in codec.levels)


def _accepting(plan: Plan, pixels: Pixels) -> list[LoadedModel]:
    current = [model for model in plan.loaded if has_level(model, plan.level)]
    if plan.fit is not Fit.REFUSE:
        return current
    accepting = [model for model in current if _accepts(model, pixels)]
    if not accepting:
        height, width, channels = pixels.shape
        raise WrongSizeError(
            f"got {height}x{width}x{channels} (height x width x channels); accepted: "
            + describe_sizes(model.codec for model in current)
        )
    return accepting


def _accepts(model: LoadedModel, pixels: Pixels) -> bool:
    try:
        fit_to_codec(pixels, model.codec, Fit.REFUSE)
    except WrongSizeError:
        return False
    return True


def _baselines(
    names: Sequence[str], pixels: Pixels, call: Call, reference: pb.Measurement | None = None
) -> Iterator[pb.Measurement]:
    """The lossless baselines, or with a reference those at equal quality that reach its MSE."""
    for name in names:
        if isinstance(BASELINES[name], LossyBaseline) is (reference is None):
            continue
        call.check()
        found = measure(name, pixels, max_mse=None if reference is None else reference.mse)
        if found is None:
            continue
        yield _measurement(
            name,
            pixels,
            size_bytes=found.size_bytes,
            distortion=found.mse,
            similarity=found.ssim,
            encode_seconds=found.encode_seconds,
            decode_seconds=found.decode_seconds,
            setting=found.setting,
            reference_model="" if reference is None else reference.codec,
        )


def _measurement(
    codec: str,
    pixels: Pixels,
    *,
    size_bytes: int,
    distortion: float,
    similarity: float | None,
    encode_seconds: float,
    decode_seconds: float,
    setting: str = "",
    reference_model: str = "",
) -> pb.Measurement:
    height, width, _ = pixels.shape
    return pb.Measurement(
        codec=codec,
        reference_model=reference_model,
        setting=setting,
        size_bytes=size_bytes,
        bits_per_pixel=8 * size_bytes / (height * width),
        mse=distortion,
        psnr_db=psnr_db(distortion) if distortion else None,
        ssim=similarity,
        encode_seconds=encode_seconds,
        decode_seconds=decode_seconds,
        num_images=1,
    )
