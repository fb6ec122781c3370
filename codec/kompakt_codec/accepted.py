"""What a codec takes: the sizes of images, and rate levels."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kompakt_codec.errors import UnsupportedImageError, WrongSizeError
from kompakt_codec.frame import LEVEL_STEPS
from kompakt_codec.images import Pixels

MIN_SIDE, MAX_SIDE = 1, 65_535
"""Of the images that a model of any size accepts."""
MAX_PIXELS = 1 << 28
"""Of the images that a model of any size accepts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRange:
    """The images that a model accepts.

    (height, width) from ``least`` to ``most``, and no more than MAX_PIXELS.
    """

    least: tuple[int, int]
    most: tuple[int, int]

    @property
    def is_one(self) -> bool:
        """Whether there is one size only."""
        return self.least == self.most

    def __contains__(self, size: tuple[int, int]) -> bool:
        in_range = all(a <= n <= b for a, n, b in zip(self.least, size, self.most, strict=True))
        return in_range and math.prod(size) <= MAX_PIXELS

    def nearest(self, size: tuple[int, int]) -> tuple[int, int]:
        """The accepted size that is nearest on both axes."""
        height, width = (
            min(max(n, a), b) for a, n, b in zip(self.least, size, self.most, strict=True)
        )
        return (height, width) if (height, width) in self else self.scaled((height, width))

    def scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        """A size of the same aspect ratio that is not too large, if possible not too small."""
        shrink = min(b / n for n, b in zip(size, self.most, strict=True))
        shrink = min(shrink, math.sqrt(MAX_PIXELS / math.prod(size)))
        grow = max(a / n for a, n in zip(self.least, size, strict=True))
        factor = min(shrink, max(grow, 1))
        height, width = (max(1, round(n * factor)) for n in size)
        if height * width > MAX_PIXELS:  # by rounding up
            height, width = (max(1, int(n * factor)) for n in size)
        return height, width

    def __str__(self) -> str:
        return by(self.least) if self.is_one else f"{by(self.least)} to {by(self.most)}"


ANY_SIZE = SizeRange(least=(MIN_SIDE, MIN_SIDE), most=(MAX_SIDE, MAX_SIDE))


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """The shapes (height, width, channels) of the images that a model accepts."""

    sizes: SizeRange
    channels: int

    def __contains__(self, shape: tuple[int, ...]) -> bool:
        if len(shape) != 3:
            return False
        height, width, channels = shape
        return (height, width) in self.sizes and channels == self.channels

    def require(self, images: Iterable[Pixels]) -> None:
        """Raise WrongSizeError for the first image of a shape that is none of these.

        UnsupportedImageError for one that is not uint8: a runtime would cut its numbers to that.
        """
        for shape, kind in dict.fromkeys((image.shape, image.dtype) for image in images):
            if kind != np.uint8:
                raise UnsupportedImageError(f"got pixels of {kind}, accepted: uint8")
            if shape not in self:
                raise self.wrong(shape)

    def wrong(self, shape: Sequence[int]) -> WrongSizeError:
        """The error of an image of a shape that is none of these."""
        is_too_large = math.prod(shape[:2]) > MAX_PIXELS and not self.sizes.is_one
        area = f", of at most {MAX_PIXELS} pixels" if is_too_large else ""
        return WrongSizeError(
            f"got {by(shape)} (height x width x channels), accepted: {self}{area}"
        )

    def __str__(self) -> str:
        """In words: "28x28x1", or "8x8x3 to 1024x1024x3"."""
        ends = self.sizes.least, self.sizes.most
        return " to ".join(dict.fromkeys(by((*end, self.channels)) for end in ends))


def by(shape: Sequence[int]) -> str:
    """A shape in words: "28x28x1"."""
    return "x".join(map(str, shape))


@dataclass(frozen=True, slots=True)
class LevelRange:
    """The rate levels of a model: whole numbers from 0, the coarsest, to ``count`` - 1."""

    count: int
    has_between: bool
    """Whether there are levels between two as well, in steps of 1 / LEVEL_STEPS."""

    def __len__(self) -> int:
        return self.count

    def __contains__(self, level: float) -> bool:
        steps = level * (LEVEL_STEPS if self.has_between else 1)
        return 0 <= level <= self.count - 1 and steps == int(steps)

    def require(self, levels: Iterable[float]) -> None:
        """Raise ValueError if one of the levels is none of these."""
        if not all(level in self for level in set(levels)):
            raise ValueError(f"levels must be {self}")

    def __str__(self) -> str:
        """In words: "a whole number from 0 to 12", "from 0 to 12 in steps of 1/8"."""
        if self.count == 1:
            return "0, the only one,"
        if self.has_between:
            return f"from 0 to {self.count - 1} in steps of 1/{LEVEL_STEPS}"
        return f"a whole number from 0 to {self.count - 1}"
