"""Images of 16 bits a channel, reduced to 8.

Pillow reads 16-bit grey whole, but of 16-bit colour only the upper bytes, which cuts where it
should round. So colour is read twice, the second time as if it had the other byte order: that
gives the lower bytes.
"""

import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from kompakt_codec.errors import UnsupportedImageError
from kompakt_codec.images._pixels import Pixels

TOO_DEEP = (
    "more than 8 bits a channel: convert the image to 8 bits, or ask for a fit, such as "
    "contain, which reduces 16-bit PNG and TIFF files"
)
_TOO_DEEP_TO_REDUCE = "this kind of deep image cannot be reduced: convert it to 8 bits a channel"

_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_PLANES = 258, 262, 284
_GREY_MODES = ("I;16", "I;16B")
_GREY_RAW_MODES = ("I;16", "I;16B", "I;16N")
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_ROWS = 64
"""Worked on at a time, so that wide numbers take little memory."""

_Deep = npt.NDArray[np.uint16]


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether an image that was opened, not loaded, has more than 8 bits a channel."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return True
    if isinstance(image, PngImageFile):
        return _raw_mode(image).endswith(";16B")
    if isinstance(image, TiffImageFile):
        return bool(max(image.tag_v2.get(_TIFF_BITS, (1,))) > 8)
    return False


def reduce_to_8_bits(
    image: ImageFile.ImageFile, reopen: Callable[[], ImageFile.ImageFile]
) -> Image.Image:
    """A deep image, which gets loaded, as L, LA, RGB or RGBA: v becomes round(v / 257).

    Raises UnsupportedImageError unless it is a 16-bit grey, RGB or RGBA file, PNG or TIFF, the
    TIFF of one plane and black at 0.
    """
    if isinstance(image, TiffImageFile):
        _require_plain(image)
    raw_mode = _raw_mode(image)
    if image.mode in _GREY_MODES and raw_mode in _GREY_RAW_MODES:
        key = image.info.get("transparency")
        return _reduced(np.asarray(image)[..., np.newaxis], key)
    if raw_mode[:-1] not in ("RGB;16", "RGBA;16"):
        raise UnsupportedImageError(_TOO_DEEP_TO_REDUCE)
    lower = reopen()
    _set_raw_mode(lower, raw_mode[:-1] + _OTHER_ORDER[raw_mode[-1]])
    key = image.info.get("transparency")
    return _reduced(np.asarray(image), key, np.asarray(lower))


def _require_plain(image: TiffImageFile) -> None:
    tags = image.tag_v2
    is_white_zero = tags.get(_TIFF_PHOTOMETRIC) == 0
    if {*tags.get(_TIFF_BITS, (1,))} != {16} or tags.get(_TIFF_PLANES, 1) != 1 or is_white_zero:
        raise UnsupportedImageError(_TOO_DEEP_TO_REDUCE)


def _raw_mode(image: ImageFile.ImageFile) -> str:
    args = image.tile[0].args
    return args[0] if isinstance(args, tuple) else str(args)


def _set_raw_mode(image: ImageFile.ImageFile, raw_mode: str) -> None:
    image.tile = [
        tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
        for tile in image.tile
    ]


def _reduced(
    upper: npt.NDArray[np.generic], key: object, lower: Pixels | None = None
) -> Image.Image:
    """The 8-bit image of numbers (H, W, C): whole ones, or their upper and lower bytes.

    Where they equal the transparent colour ``key``, if it is not None, a channel of alpha is 0.
    """
    height, width, channels = upper.shape
    out = np.empty((height, width, channels + (key is not None)), np.uint8)
    for top in range(0, height, _ROWS):
        rows = slice(top, top + _ROWS)
        deep: _Deep = upper[rows].astype(np.uint16)
        if lower is not None:
            deep = (deep << 8 | lower[rows]).astype(np.uint16)
        out[rows, :, :channels] = (deep.astype(np.uint32) * 255 + 32767) // 65535
        if key is not None:
            out[rows, :, channels] = np.where((deep == key).all(axis=2), 0, 255)
    return Image.fromarray(out[..., 0] if out.shape[2] == 1 else out)
