"""Rate, distortion and speed of one codec at one setting, from real streams."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from kompakt_codec.baselines import BASELINES, LossyBaseline
from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_codec.images import Pixels
from kompakt_codec.metrics import squared_error
from kompakt_training.curves import Point
from kompakt_training.imageset import Images

QUALITIES = (0, 5, 10, 20, 30, 45, 60, 75, 90, 98)
"""Of the lossy baselines; where a scale begins at 1, that stands for 0."""
BATCH_SIZE = 256

_PIXELS_PER_BATCH = 1 << 20

Input = TypeVar("Input")
Output = TypeVar("Output")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPoint(Point):
    """A codec at one setting; speeds are None where the clock is too coarse to tell."""

    bits_per_pixel: float
    encode_images_per_s: float | None
    """Per second of processor time, that of all threads together: a single core's speed."""
    decode_images_per_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coder:
    """A codec at one setting: images (N, height, width, channels) to N streams and back."""

    codec: str
    setting: str
    encode: Callable[[Images], list[bytes]]
    decode: Callable[[list[bytes]], Sequence[Pixels]]


def model_coders(codec: Codec, profile: Profile) -> Iterator[Coder]:
    """A model at each of its rate levels, the coarsest first; a batch goes in step."""
    for level in range(codec.levels):
        yield _model_coder(codec, profile, level)


def baseline_coders(name: str, shape: tuple[int, ...]) -> Iterator[Coder]:
    """A baseline for images (height, width, channels), which it takes one by one.

    A lossy one at some qualities of every variant, a lossless one at its only setting. Raises
    BaselineUnavailableError.
    """
    baseline = BASELINES[name]
    baseline.require()
    if not isinstance(baseline, LossyBaseline):
        yield _file_coder(name, baseline.setting, shape, baseline.encode)
        return
    for variant in baseline.variants(shape[2]):
        for quality in QUALITIES:
            least = baseline.qualities[0]
            yield _lossy_coder(name, baseline, shape, max(quality, least), variant)


def measure(coder: Coder, images: Images) -> BenchPoint:
    """Encode and decode all images (N, height, width, channels), a stream each."""
    num_bytes, error = 0, 0
    encode_seconds, decode_seconds = 0.0, 0.0
    num_pixels = images.shape[1] * images.shape[2]
    batch_size = min(BATCH_SIZE, max(1, _PIXELS_PER_BATCH // num_pixels))
    coder.decode(coder.encode(images[:1]))  # what is set up on first use is not timed
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        streams, seconds = _timed(coder.encode, batch)
        encode_seconds += seconds
        decoded, seconds = _timed(coder.decode, streams)
        decode_seconds += seconds
        num_bytes += sum(map(len, streams))
        error += squared_error(batch, np.stack(decoded))
    bytes_per_image = num_bytes / len(images)
    return BenchPoint(
        codec=coder.codec,
        setting=coder.setting,
        bytes_per_image=bytes_per_image,
        bits_per_pixel=8 * bytes_per_image / num_pixels,
        mse=error / (images.size * 255**2),
        encode_images_per_s=_rate(len(images), encode_seconds),
        decode_images_per_s=_rate(len(images), decode_seconds),
    )


def _model_coder(codec: Codec, profile: Profile, level: int) -> Coder:
    return Coder(
        codec=codec.header.name,
        setting=f"level={level}",
        encode=lambda images: codec.compress(list(images), profile=profile, level=level),
        decode=lambda frames: codec.decompress(frames, profile=profile),
    )


def _lossy_coder(
    name: str, baseline: LossyBaseline, shape: tuple[int, ...], quality: int, variant: str
) -> Coder:
    setting = f"quality={quality} {variant}".rstrip()
    return _file_coder(name, setting, shape, lambda p: baseline.encode(p, quality, variant))


def _file_coder(
    name: str, setting: str, shape: tuple[int, ...], encode: Callable[[Pixels], bytes]
) -> Coder:
    return Coder(
        codec=name,
        setting=setting,
        encode=lambda images: [encode(image) for image in images],
        decode=lambda files: [BASELINES[name].decode(data, shape) for data in files],
    )


def _timed(function: Callable[[Input], Output], argument: Input) -> tuple[Output, float]:
    start = time.process_time()
    result = function(argument)
    return result, time.process_time() - start


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if seconds else None
