"""Pixels, the limits on them, and their way into and out of Pillow."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from kompakt_codec.errors import ImageTooLargeError, InvalidImageError

Pixels = npt.NDArray[np.uint8]

MAX_SIDE = 65_535
"""The most pixels in height or width: JPEG's limit, and what keeps resampling tables small."""


_COPIED = 1 << 24


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLimits:
    """What is refused with ImageTooLargeError before memory is taken for it."""

    max_bytes: int = 32 * 2**20
    """The most bytes in a file."""
    max_pixels: int = 70_000_000
    """The most pixels (height x width) in an image."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or self.max_pixels < 1:
            raise ValueError("image limits must be positive")

    def check_size(self, height: int, width: int) -> None:
        """Raise ImageTooLargeError if an image of this size is over a limit."""
        if height * width > self.max_pixels:
            limit = f"{self.max_pixels} pixels"
        elif max(height, width) > MAX_SIDE:
            limit = f"{MAX_SIDE} pixels a side"
        else:
            return
        raise ImageTooLargeError(
            f"the image is {height}x{width} (height x width), over the limit of {limit}"
        )


DEFAULT_LIMITS = ImageLimits()


def image_from_raw(
    data: bytes, height: int, width: int, channels: int, *, limits: ImageLimits = DEFAULT_LIMITS
) -> Pixels:
    """Pixels from raw uint8 numbers: rows from the top, channels interleaved.

    Large ones are a view of the data, which nobody can write to. Raises InvalidImageError unless
    there are exactly height x width x channels of them, with 1 or 3 channels, and
    ImageTooLargeError for more pixels than limits allow.
    """
    shape = f"{height}x{width}x{channels} (height x width x channels)"
    if height < 1 or width < 1:
        raise InvalidImageError(f"raw pixels of {shape}: height and width must be positive")
    if channels not in (1, 3):
        raise InvalidImageError(f"raw pixels of {shape}: channels must be 1 (grey) or 3 (RGB)")
    limits.check_size(height, width)
    count = height * width * channels
    if len(data) != count:
        raise InvalidImageError(f"raw pixels of {shape} take {count} bytes, not {len(data)}")
    pixels = np.frombuffer(data, np.uint8).reshape(height, width, channels)
    return pixels if count > _COPIED else pixels.copy()


def to_pillow(pixels: Pixels) -> Image.Image:
    """Pixels as a Pillow image of mode L or RGB."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def from_pillow(image: Image.Image) -> Pixels:
    """A Pillow image of 8 bits a channel as an array with as many channels as its mode has."""
    array = np.array(image, dtype=np.uint8)
    return array[..., np.newaxis] if array.ndim == 2 else array


def channels_are_equal(pixels: Pixels) -> bool:
    """Whether RGB pixels (height, width, 3) hold only greys."""
    first = pixels[..., :1]
    return bool((pixels[..., 1:] == first).all())
