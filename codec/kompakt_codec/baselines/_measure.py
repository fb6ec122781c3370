"""Classical codecs at work: encode, decode, measure."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from kompakt_codec.baselines._codecs import BASELINES, LosslessBaseline, LossyBaseline, Shape
from kompakt_codec.baselines._search import Trial, smallest_file
from kompakt_codec.errors import WrongSizeError
from kompakt_codec.images import Pixels
from kompakt_codec.interruption import check_interruption
from kompakt_codec.metrics import mse, psnr_db, ssim

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """A file, the setting that made it, and how long that took."""

    data: bytes
    setting: str
    """Such as "quality=35 4:2:0"."""
    seconds: float
    """Time to encode with this setting, without any search."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineMeasurement:
    """What one classical codec did to one image."""

    codec: str
    setting: str
    size_bytes: int
    mse: float
    """On a scale from 0 to 1, of the decoded pixels."""
    psnr_db: float
    """Infinite if mse is 0."""
    ssim: float | None
    """None for images under 11 pixels in height or width."""
    encode_seconds: float
    decode_seconds: float


def encode_lossless(name: str, pixels: Pixels) -> Encoded:
    """Encode pixels (height, width, 1 or 3) with a lossless baseline.

    Raises ValueError for any other name, WrongSizeError if the format cannot hold so large an
    image, BaselineUnavailableError if the codec's library is missing.
    """
    baseline = _baseline(name)
    if isinstance(baseline, LossyBaseline):
        raise ValueError(f"{name} is not lossless: give the MSE that it has to reach")
    check_interruption()
    if not _can_hold(baseline, pixels):
        raise WrongSizeError(f"{name} holds at most {baseline.max_side} pixels a side")
    data, seconds = _timed(lambda: baseline.encode(pixels))
    return Encoded(data=data, setting=baseline.setting, seconds=seconds)


def encode_at_mse(
    name: str, pixels: Pixels, max_mse: float, *, qualities: range | None = None
) -> Encoded | None:
    """Encode pixels (height, width, 1 or 3) as the smallest file found with an MSE within max_mse.

    The MSE is on a scale from 0 to 1; ``qualities`` are those to search, by default all. None if no
    setting reaches it, or if the format cannot hold
    so large an image. Raises ValueError for a name that is not of a lossy baseline, and
    BaselineUnavailableError if the codec's library is missing.
    """
    baseline = _baseline(name)
    if not isinstance(baseline, LossyBaseline):
        raise ValueError(f"{name} is lossless: it has no quality to choose")
    if not _can_hold(baseline, pixels):
        return None
    best: Trial | None = None
    for variant in baseline.variants(pixels.shape[2]):
        trials = _trials(baseline, pixels, variant)
        found = smallest_file(trials, qualities or baseline.qualities, max_mse)
        if found and (best is None or len(found.data) < len(best.data)):
            best = found
    if best is None:
        return None
    return Encoded(data=best.data, setting=best.setting, seconds=best.seconds)


def decode_baseline(name: str, data: bytes, shape: Shape) -> Pixels:
    """Decode what a baseline made of pixels of this shape (height, width, 1 or 3)."""
    return _baseline(name).decode(data, shape)


def measure(
    name: str, pixels: Pixels, *, max_mse: float | None = None
) -> BaselineMeasurement | None:
    """Encode, decode and measure; a lossy baseline needs max_mse, a lossless one takes none.

    None if the baseline cannot hold the image or reach max_mse. Raises ValueError and
    BaselineUnavailableError as encode_lossless and encode_at_mse do.
    """
    if not _can_hold(_baseline(name), pixels):
        return None
    if max_mse is None:
        encoded: Encoded | None = encode_lossless(name, pixels)
    else:
        encoded = encode_at_mse(name, pixels, max_mse)
    if encoded is None:
        return None
    data = encoded.data
    decoded, decode_seconds = _timed(lambda: decode_baseline(name, data, pixels.shape))
    error = mse(pixels, decoded)
    return BaselineMeasurement(
        codec=name,
        setting=encoded.setting,
        size_bytes=len(data),
        mse=error,
        psnr_db=psnr_db(error),
        ssim=ssim(pixels, decoded),
        encode_seconds=encoded.seconds,
        decode_seconds=decode_seconds,
    )


def _baseline(name: str) -> LosslessBaseline | LossyBaseline:
    """The baseline, ready for use, so that no loading of libraries is timed."""
    if name not in BASELINES:
        raise ValueError(f"no baseline is named {name!r}: choose from {', '.join(BASELINES)}")
    BASELINES[name].require()
    return BASELINES[name]


def _can_hold(baseline: LosslessBaseline | LossyBaseline, pixels: Pixels) -> bool:
    height, width, _ = pixels.shape
    return bool(max(height, width) <= baseline.max_side)


def _trials(baseline: LossyBaseline, pixels: Pixels, variant: str) -> Callable[[int], Trial]:
    def trial_at(quality: int) -> Trial:
        data, seconds = _timed(lambda: baseline.encode(pixels, quality, variant))
        error = mse(pixels, baseline.decode(data, pixels.shape))
        return Trial(data, seconds, error, f"quality={quality} {variant}".rstrip())

    return trial_at


def _timed(function: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start
