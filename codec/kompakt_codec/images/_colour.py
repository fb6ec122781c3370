"""Colours by an embedded ICC profile to sRGB, with LittleCMS."""

import functools
import io
import itertools

import numpy as np
from PIL import Image, ImageCms

from kompakt_codec.images._pixels import channels_are_equal

MAX_PROFILE_BYTES = 4 * 2**20
"""A longer profile is treated as one that cannot be used: those of presses have 3 MB at most."""

_SPACES = {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK"}
_CLASSES = (b"mntr", b"scnr", b"prtr", b"spac")
_HEADER_BYTES = 132
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_GREY_FLAGS = _FLAGS | ImageCms.Flags.NOOPTIMIZE
"""LittleCMS would interpolate between 33 greys, up to ten levels off."""


def to_srgb(image: Image.Image, profile: object) -> tuple[Image.Image, bool]:
    """A loaded image of mode L, RGB or CMYK as L or RGB in sRGB, and whether a profile changed it.

    Relative colorimetric with black point compensation. Without a profile, or with one that is
    broken, too long or of another colour space, colours are taken for sRGB, as browsers do; with
    one that differs from sRGB by a level at most, they are left alone. An RGB image may be changed
    in place.
    """
    space = _space_of(profile)
    transform = _transform(profile, space) if isinstance(profile, bytes) and space else None
    is_grey = image.mode == "L" or (transform is not None and _is_grey(image))
    if transform is None or (image.mode != space and not (is_grey and space == "RGB")):
        return (image.convert("RGB") if image.mode == "CMYK" else image), False
    if image.mode == "CMYK":
        return transform.apply(image), True
    if not is_grey:
        return transform.apply_in_place(image), True
    grey = image.getchannel(0).point(_grey_table(transform))
    return (grey if image.mode == "L" else Image.merge("RGB", [grey] * 3)), True


def _space_of(profile: object) -> str:
    """The mode of the images that a profile is for; empty if it cannot be used."""
    if not isinstance(profile, bytes) or not _HEADER_BYTES <= len(profile) <= MAX_PROFILE_BYTES:
        return ""
    is_sound = profile[36:40] == b"acsp" and profile[12:16] in _CLASSES
    return _SPACES.get(profile[16:20], "") if is_sound else ""


def _is_grey(image: Image.Image) -> bool:
    return image.mode == "RGB" and channels_are_equal(np.asarray(image))


@functools.lru_cache(8)
def _transform(profile: bytes, space: str) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        flags = _GREY_FLAGS if space == "L" else _FLAGS
        transform = ImageCms.ImageCmsTransform(source, _srgb(), space, "RGB", intent, flags=flags)
    except (OSError, TypeError, ValueError):
        return None
    return None if _is_srgb(transform) else transform


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _is_srgb(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether it moves no colour of a grid, and no grey, by more than a level."""
    if transform.input_mode == "CMYK":
        return False
    if transform.input_mode == "L":
        probe = _ramp()
    else:
        grid = itertools.product(range(0, 256, 17), repeat=3)
        probe = Image.fromarray(np.array([[*grid]], np.uint8))
    moved = np.asarray(transform.apply(probe)).astype(int) - np.asarray(probe.convert("RGB"))
    return bool(np.abs(moved).max() <= 1)


def _grey_table(transform: ImageCms.ImageCmsTransform) -> list[int]:
    """What each of the 256 greys becomes."""
    ramp = transform.apply(_ramp().convert(transform.input_mode))
    return [int(level) for level in np.asarray(ramp)[0, :, 1]]


def _ramp() -> Image.Image:
    return Image.fromarray(np.arange(256, dtype=np.uint8)[np.newaxis])
