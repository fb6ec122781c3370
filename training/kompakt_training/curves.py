"""Rate and distortion over the settings: a model's levels and the classical codecs' qualities.

Every point is of real streams and files, one for each image, decoded again.
"""

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar, cast

import numpy as np

from kompakt_codec.baselines import BASELINES, LossyBaseline, encode_lossless
from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_codec.metrics import mse, psnr_db
from kompakt_training.evaluation import evaluate_codec
from kompakt_training.imageset import Images

_QUALITIES = (0, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A codec at one setting: bytes in the mean over the images, MSE on [0, 1] pooled over them."""

    codec: str
    setting: str
    bytes_per_image: float
    mse: float

    @property
    def psnr_db(self) -> float:
        """Of the pooled MSE; infinite if that is 0."""
        return psnr_db(self.mse)


AnyPoint = TypeVar("AnyPoint", bound=Point)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallFile:
    """A file and the pixels (height, width, channels) that its decoder returns."""

    num_bytes: int
    decoded: Images


class LossyCurve:
    """One lossy baseline over its qualities and variants; what was measured once is kept.

    ``images`` is (N, height, width, channels). Raises BaselineUnavailableError.
    """

    def __init__(self, name: str, images: Images) -> None:
        self._name = name
        self._baseline = cast(LossyBaseline, BASELINES[name])
        self._baseline.require()
        self._images = images
        self._points: dict[tuple[int, str], Point] = {}

    @cached_property
    def variants(self) -> Sequence[str]:
        """Those for the images' channels."""
        return tuple(self._baseline.variants(self._images.shape[3]))

    def at(self, quality: int, variant: str) -> Point:
        """Every image as a file of this quality."""
        key = (quality, variant)
        if key not in self._points:
            self._points[key] = self._measure(quality, variant)
        return self._points[key]

    def front(self) -> list[Point]:
        """A dozen qualities of every variant, without those that another one beats."""
        qualities = self._baseline.qualities
        for variant in self.variants:
            for quality in _QUALITIES:
                self.at(max(quality, qualities[0]), variant)
        return front(self._points.values())

    def within(self, max_mse: float) -> Point | None:
        """The smallest that was found with at most this pooled MSE; None if there is none.

        MSE mostly falls with quality, so bisection finds where each variant comes to be within.
        """
        for variant in self.variants:
            self._bisect(variant, max_mse)
        found = [point for point in self._points.values() if point.mse <= max_mse]
        return min(found, key=lambda point: point.bytes_per_image, default=None)

    def file_of(self, image: Images, max_bytes: int) -> SmallFile:
        """The best file of at most ``max_bytes``, else the smallest of all.

        ``image`` is (height, width, channels). Size mostly grows with quality.
        """
        files = [self._largest_within(image, variant, max_bytes) for variant in self.variants]
        fitting = [file for file in files if file.num_bytes <= max_bytes]
        if not fitting:
            return min(files, key=lambda file: file.num_bytes)
        return min(fitting, key=lambda file: mse(image, file.decoded))

    def _bisect(self, variant: str, max_mse: float) -> None:
        """Measure around the first quality with at most this pooled MSE, if there is one."""
        bisect.bisect_left(
            self._baseline.qualities,
            True,
            key=lambda quality: self.at(quality, variant).mse <= max_mse,
        )

    def _largest_within(self, image: Images, variant: str, max_bytes: int) -> SmallFile:
        qualities = self._baseline.qualities
        above = bisect.bisect_right(
            qualities, max_bytes, key=lambda q: len(self._baseline.encode(image, q, variant))
        )
        data = self._baseline.encode(image, qualities[max(0, above - 1)], variant)
        return SmallFile(num_bytes=len(data), decoded=self._baseline.decode(data, image.shape))

    def _measure(self, quality: int, variant: str) -> Point:
        files = [self._baseline.encode(image, quality, variant) for image in self._images]
        decoded = [self._baseline.decode(data, self._images.shape[1:]) for data in files]
        return Point(
            codec=self._name,
            setting=f"quality={quality} {variant}".rstrip(),
            bytes_per_image=sum(map(len, files)) / len(files),
            mse=mse(self._images, np.stack(decoded)),
        )


def front(points: Iterable[AnyPoint]) -> list[AnyPoint]:
    """The points that no other one equals in both size and error, the smallest first."""
    best: list[AnyPoint] = []
    for point in sorted(points, key=lambda p: (p.bytes_per_image, p.mse)):
        if not best or point.mse < best[-1].mse:
            best.append(point)
    return best


def model_curve(codec: Codec, images: Images) -> list[Point]:
    """Every rate level as embedded frames, the coarsest first; of a conditional model that of no
    label.
    """
    points = []
    for level in range(codec.header.rate_levels):
        result = evaluate_codec(codec, images, profile=Profile.EMBEDDED, level=level).result
        point = Point(
            codec=codec.header.name,
            setting=f"level={level}",
            bytes_per_image=result.bytes_per_image,
            mse=result.mse,
        )
        points.append(point)
    return points


def lossless_points(names: Iterable[str], images: Images) -> list[Point]:
    """The lossless baselines of these names, the smallest first."""
    points = []
    for name in names:
        files = [encode_lossless(name, image) for image in images]
        size = sum(len(file.data) for file in files) / len(files)
        point = Point(codec=name, setting=files[0].setting, bytes_per_image=size, mse=0.0)
        points.append(point)
    return sorted(points, key=lambda point: point.bytes_per_image)
