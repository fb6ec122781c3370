"""Rate, distortion and speed of one codec at one setting, from real streams."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from kompakt_codec.baselines import BASELINES, LossyBaseline
from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_codec.images import Pixels
from kompakt_codec.metrics import psnr_db, squared_error
from kompakt_codec.ms_ssim import ms_ssim
from kompakt_training.curves import Point

QUALITIES = (0, 5, 10, 20, 30, 45, 60, 75, 90, 98)
"""Of the lossy baselines; where a scale begins at 1, that stands for 0."""
BATCH_SIZE = 256

_PIXELS_PER_BATCH = 1 << 20

Shape = tuple[int, ...]
Output = TypeVar("Output")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPoint(Point):
    """A codec at one setting; speeds are None where the clock is too coarse to tell."""

    bits_per_pixel: float
    """Of all streams together, over the pixels of all images together."""
    bits_per_pixel_mean: float
    """The mean over the images of each one's own."""
    psnr_mean_db: float
    """The mean over the images of each one's own; infinite if an image came back unchanged."""
    ms_ssim: float | None
    """The mean over the images; None if any is too small for it."""
    encode_images_per_s: float | None
    """Per second of processor time, that of all threads together: a single core's speed."""
    decode_images_per_s: float | None
    encode_megapixels_per_s: float | None
    """Of height times width, by the same clock."""
    decode_megapixels_per_s: float | None

    @property
    def variant(self) -> str:
        """What a setting says beside its quality or level, such as "4:2:0 progressive"."""
        return self.setting.partition(" ")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coder:
    """A codec at one setting: N images to N streams, and those back given the images' shapes."""

    codec: str
    setting: str
    encode: Callable[[Sequence[Pixels]], list[bytes]]
    decode: Callable[[Sequence[bytes], Sequence[Shape]], Sequence[Pixels]]


def model_coders(codec: Codec, profile: Profile) -> Iterator[Coder]:
    """A model at each of its rate levels, the coarsest first; a conditional one without a label."""
    for level in range(codec.header.rate_levels):
        yield model_coder(codec, profile, level)


def model_coder(codec: Codec, profile: Profile, level: int) -> Coder:
    """A model at one rate level."""
    return Coder(
        codec=codec.header.name,
        setting=f"level={level}",
        encode=lambda images: codec.compress(images, profile=profile, level=level),
        decode=lambda frames, _: codec.decompress(frames, profile=profile),
    )


def baseline_coders(name: str, channels: int) -> Iterator[Coder]:
    """A baseline for images of 1 or 3 channels, which it takes one by one.

    A lossy one at some qualities of every variant, a lossless one at its only setting. Raises
    BaselineUnavailableError.
    """
    baseline = BASELINES[name]
    baseline.require()
    if not isinstance(baseline, LossyBaseline):
        yield _file_coder(name, baseline.setting, baseline.encode)
        return
    for variant in baseline.variants(channels):
        for quality in QUALITIES:
            yield _lossy_coder(name, baseline, max(quality, baseline.qualities[0]), variant)


def measure(coder: Coder, images: Sequence[Pixels]) -> BenchPoint:
    """Encode and decode all images (height, width, channels), a stream each."""
    totals = _Totals()
    coder.decode(coder.encode(images[:1]), [images[0].shape])  # not timed: what is set up first
    for batch in _batches(images):
        totals.measure(coder, batch)
    return totals.point(coder)


@dataclass(slots=True)
class _Totals:
    """What is summed up over batches, and of each image its own."""

    sizes: list[int] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)
    psnrs: list[float] = field(default_factory=list)
    similarities: list[float | None] = field(default_factory=list)
    error: int = 0
    samples: int = 0
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0

    def measure(self, coder: Coder, batch: Sequence[Pixels]) -> None:
        shapes = [image.shape for image in batch]
        streams, seconds = _timed(lambda: coder.encode(batch))
        self.encode_seconds += seconds
        decoded, seconds = _timed(lambda: coder.decode(streams, shapes))
        self.decode_seconds += seconds
        self.sizes += map(len, streams)
        for image, other in zip(batch, decoded, strict=True):
            self._compare(image, other)

    def _compare(self, image: Pixels, other: Pixels) -> None:
        self.pixels.append(image.shape[0] * image.shape[1])
        self.samples += image.size
        error = squared_error(image, other)
        self.error += error
        self.psnrs.append(psnr_db(error / (image.size * 255**2)))
        self.similarities.append(ms_ssim(image, other))

    def point(self, coder: Coder) -> BenchPoint:
        count, megapixels = len(self.sizes), sum(self.pixels) / 1e6
        rates = (8 * size / pixels for size, pixels in zip(self.sizes, self.pixels, strict=True))
        return BenchPoint(
            codec=coder.codec,
            setting=coder.setting,
            bytes_per_image=sum(self.sizes) / count,
            bits_per_pixel=8 * sum(self.sizes) / sum(self.pixels),
            bits_per_pixel_mean=sum(rates) / count,
            mse=self.error / (self.samples * 255**2),
            psnr_mean_db=sum(self.psnrs) / count,
            ms_ssim=_mean(self.similarities),
            encode_images_per_s=_rate(count, self.encode_seconds),
            decode_images_per_s=_rate(count, self.decode_seconds),
            encode_megapixels_per_s=_rate(megapixels, self.encode_seconds),
            decode_megapixels_per_s=_rate(megapixels, self.decode_seconds),
        )


def _batches(images: Sequence[Pixels]) -> Iterator[Sequence[Pixels]]:
    """Images in their order, at most 256 and a mebipixel together unless a single one is larger."""
    batch: list[Pixels] = []
    num_pixels = 0
    for image in images:
        pixels = image.shape[0] * image.shape[1]
        if batch and (len(batch) == BATCH_SIZE or num_pixels + pixels > _PIXELS_PER_BATCH):
            yield batch
            batch, num_pixels = [], 0
        batch.append(image)
        num_pixels += pixels
    yield batch


def _lossy_coder(name: str, baseline: LossyBaseline, quality: int, variant: str) -> Coder:
    setting = f"quality={quality} {variant}".rstrip()
    return _file_coder(name, setting, lambda p: baseline.encode(p, quality, variant))


def _file_coder(name: str, setting: str, encode: Callable[[Pixels], bytes]) -> Coder:
    decode = BASELINES[name].decode
    return Coder(
        codec=name,
        setting=setting,
        encode=lambda images: [encode(image) for image in images],
        decode=lambda files, shapes: [decode(*pair) for pair in zip(files, shapes, strict=True)],
    )


def _timed(function: Callable[[], Output]) -> tuple[Output, float]:
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def _rate(count: float, seconds: float) -> float | None:
    return count / seconds if seconds else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
