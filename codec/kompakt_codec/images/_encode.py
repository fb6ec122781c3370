"""Pixels to image files."""

import enum
import io
from typing import Any

from PIL.PngImagePlugin import PngInfo

from kompakt_codec.errors import WrongSizeError
from kompakt_codec.images._metadata import EXIF_NAME, NO_METADATA, Metadata
from kompakt_codec.images._pixels import Pixels, to_pillow

WEBP_MAX_SIDE = 16_383
JPEG_MAX_SIDE = 65_500


class FileFormat(enum.Enum):
    """A file format that encode_image writes, lossless but for JPEG; its value is Pillow's name."""

    PNG = "PNG"
    WEBP = "WEBP"
    BMP = "BMP"
    TIFF = "TIFF"
    JPEG = "JPEG"


_MAX_SIDES = {FileFormat.WEBP: WEBP_MAX_SIDE, FileFormat.JPEG: JPEG_MAX_SIDE}
_SAVE_OPTIONS: dict[FileFormat, dict[str, Any]] = {
    FileFormat.PNG: {},
    FileFormat.WEBP: {"lossless": True},
    FileFormat.BMP: {},
    FileFormat.TIFF: {"compression": "tiff_adobe_deflate"},
    FileFormat.JPEG: {"quality": 95, "subsampling": 0},
}


def encode_image(
    pixels: Pixels, file_format: FileFormat, metadata: Metadata = NO_METADATA
) -> bytes:
    """Write pixels (height, width, 1 or 3) as a file that holds them without loss.

    A JPEG loses a little: it is of quality 95, without subsampling. WebP knows no grey: there a
    grey image becomes three equal channels. Metadata is written to PNG, WebP and JPEG; BMP and TIFF
    leave it out. Raises WrongSizeError for more than 16,383 pixels a side in WebP, 65,500 in JPEG.
    """
    max_side = _MAX_SIDES.get(file_format)
    if max_side is not None and max(pixels.shape) > max_side:
        raise WrongSizeError(
            f"a {file_format.value} file holds at most {max_side} pixels a side: "
            "ask for another format"
        )
    options = _SAVE_OPTIONS[file_format] | _metadata_options(file_format, metadata)
    buffer = io.BytesIO()
    to_pillow(pixels).save(buffer, file_format.value, **options)
    return buffer.getvalue()


def _metadata_options(file_format: FileFormat, metadata: Metadata) -> dict[str, Any]:
    if file_format in (FileFormat.BMP, FileFormat.TIFF):
        return {}
    options: dict[str, Any] = {}
    if metadata.exif:
        options["exif"] = EXIF_NAME + metadata.exif
    if metadata.xmp and file_format is FileFormat.PNG:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", metadata.xmp)
    elif metadata.xmp:
        options["xmp"] = metadata.xmp
    return options
