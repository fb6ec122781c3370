"""Pixels made to suit the one size and number of channels that a model accepts."""

import enum

from PIL import Image, ImageOps

from kompakt_codec.errors import WrongSizeError
from kompakt_codec.images._pixels import Pixels, channels_are_equal, from_pillow, to_pillow


class Fit(enum.Enum):
    """What to do with an image whose size or channels the model does not accept."""

    REFUSE = "refuse"
    """Raise WrongSizeError."""
    CONTAIN = "contain"
    """Scale it to lie within the size, keep its aspect ratio, fill the rest with black."""
    COVER = "cover"
    """Scale it to cover the size, keep its aspect ratio, cut the overhang off evenly."""
    STRETCH = "stretch"
    """Scale it to the size whatever its aspect ratio."""


def match_channels(pixels: Pixels, channels: int) -> Pixels:
    """The same picture with 1 or 3 channels, without loss.

    Three equal channels become grey, grey becomes three equal channels. Raises WrongSizeError for
    colour where grey is asked for.
    """
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return pixels.repeat(3, axis=2)
    if channels_are_equal(pixels):
        return pixels[..., :1].copy()
    raise WrongSizeError("got a colour image (3 channels), accepted: 1 channel (grey)")


def fit_image(
    pixels: Pixels, height: int, width: int, channels: int, mode: Fit = Fit.REFUSE
) -> tuple[Pixels, bool]:
    """Pixels of (height, width, channels), and whether the picture changed on the way.

    Scaling is Lanczos resampling; colour becomes grey by ITU-R 601 luma. Grey held in three equal
    channels and grey in one are the same picture. Raises WrongSizeError if mode is REFUSE and the
    picture would have to change.
    """
    grey_is_lossy = channels == 1 and pixels.shape[2] == 3 and not channels_are_equal(pixels)
    if pixels.shape[:2] == (height, width) and not grey_is_lossy:
        return match_channels(pixels, channels), False
    if mode is Fit.REFUSE:
        got = "x".join(map(str, pixels.shape))
        raise WrongSizeError(
            f"got {got} (height x width x channels), accepted: {height}x{width}x{channels}"
        )
    image = to_pillow(pixels).convert("L" if channels == 1 else "RGB")
    return from_pillow(_scale(image, height, width, mode)), True


def _scale(image: Image.Image, height: int, width: int, mode: Fit) -> Image.Image:
    if image.size == (width, height):
        return image
    if mode is Fit.COVER:
        return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    if mode is Fit.STRETCH:
        return image.resize((width, height), Image.Resampling.LANCZOS)
    scale = min(width / image.width, height / image.height)
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    canvas = Image.new(image.mode, (width, height))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas.paste(image.resize(inner, Image.Resampling.LANCZOS), (left, top))
    return canvas
