"""A codec beside every classical one, measured on the same held-out images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from kompakt_codec.baselines import BASELINES, LossyBaseline
from kompakt_codec.codec import Codec
from kompakt_codec.errors import BaselineUnavailableError
from kompakt_training.curves import LossyCurve, Point, lossless_points, model_curve
from kompakt_training.imageset import Images

MAX_IMAGES = 200
TITLES = {
    "zip": "ZIP",
    "deflate": "DEFLATE",
    "png": "PNG",
    "webp-lossless": "WebP lossless",
    "jpeg": "JPEG",
    "webp": "WebP",
    "avif": "AVIF",
    "jpeg-xl": "JPEG XL",
    "jpeg-2000": "JPEG 2000",
}
"""How the baselines are called in texts."""

_MIN_IMAGES = 10
_MAX_PIXELS = 1 << 20
_SAMPLE_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Points of the model's levels and of all other codecs on ``images``."""

    codec: Codec
    images: Images
    """(N, height, width, channels): all images that were given, or a fixed sample."""
    model: Sequence[Point]
    """Of each level, the coarsest first."""
    curves: Mapping[str, LossyCurve]
    lossless: Sequence[Point]
    equal: Mapping[str, Point | None]
    """Each lossy codec where its error comes to be no more than the model's at its default level.

    None where it never does.
    """
    unavailable: Sequence[str]
    """Why codecs are left out, one text each."""

    @classmethod
    def of(cls, codec: Codec, images: Images) -> Self:
        """Measure on at most 200 images (N, height, width, channels), fewer if they are large."""
        images = _sample(images)
        available, unavailable = _available()
        model = model_curve(codec, images)
        bound = model[codec.header.default_level].mse
        lossy = [name for name in available if isinstance(BASELINES[name], LossyBaseline)]
        curves = {name: LossyCurve(name, images) for name in lossy}
        return cls(
            codec=codec,
            images=images,
            model=model,
            curves=curves,
            lossless=lossless_points([n for n in available if n not in lossy], images),
            equal={name: curve.within(bound) for name, curve in curves.items()},
            unavailable=unavailable,
        )

    @property
    def own(self) -> Point:
        """The model at its default level."""
        return self.model[self.codec.header.default_level]

    @property
    def best(self) -> Point:
        """The smallest classical codec that is no worse than ``own``."""
        reached = [point for point in self.equal.values() if point is not None]
        return min([*reached, *self.lossless], key=lambda point: point.bytes_per_image)

    @property
    def is_worth_while(self) -> bool:
        """Whether the model is smaller than the best of the others."""
        return self.own.bytes_per_image < self.best.bytes_per_image


def _sample(images: Images) -> Images:
    num_pixels = images.shape[1] * images.shape[2]
    count = min(len(images), MAX_IMAGES, max(_MIN_IMAGES, _MAX_PIXELS // num_pixels))
    chosen = np.random.default_rng(_SAMPLE_SEED).choice(len(images), count, replace=False)
    sample: Images = images[np.sort(chosen)]
    return sample


def _available() -> tuple[list[str], list[str]]:
    """The baselines whose libraries are here, and why the others are not."""
    names, reasons = [], []
    for name, baseline in BASELINES.items():
        try:
            baseline.require()
        except BaselineUnavailableError as exc:
            reasons.append(str(exc))
        else:
            names.append(name)
    return names, reasons
