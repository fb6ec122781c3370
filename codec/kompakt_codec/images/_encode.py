"""Pixels to image files."""

import enum
import io
from typing import Any

from kompakt_codec.errors import WrongSizeError
from kompakt_codec.images._pixels import Pixels, to_pillow

WEBP_MAX_SIDE = 16_383


class FileFormat(enum.Enum):
    """A lossless file format that encode_image writes; its value is Pillow's name for it."""

    PNG = "PNG"
    WEBP = "WEBP"
    BMP = "BMP"
    TIFF = "TIFF"


_SAVE_OPTIONS: dict[FileFormat, dict[str, Any]] = {
    FileFormat.PNG: {},
    FileFormat.WEBP: {"lossless": True},
    FileFormat.BMP: {},
    FileFormat.TIFF: {"compression": "tiff_adobe_deflate"},
}


def encode_image(pixels: Pixels, file_format: FileFormat) -> bytes:
    """Write pixels (height, width, 1 or 3) as a file that holds them without loss.

    WebP knows no grey: there a grey image becomes three equal channels. Raises WrongSizeError for
    more than 16,383 pixels a side in WebP.
    """
    if file_format is FileFormat.WEBP and max(pixels.shape) > WEBP_MAX_SIDE:
        raise WrongSizeError(
            f"a WebP file holds at most {WEBP_MAX_SIDE} pixels a side: ask for another format"
        )
    buffer = io.BytesIO()
    to_pillow(pixels).save(buffer, file_format.value, **_SAVE_OPTIONS[file_format])
    return buffer.getvalue()
