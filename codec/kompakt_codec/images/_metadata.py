"""What an image file says of its picture beside the pixels."""

import re
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from kompakt_codec.errors import UnsupportedImageError
from kompakt_codec.images._exif import settle_exif

MAX_EXIF_BYTES = 65_527
"""What a JPEG segment holds beside its length and the name of EXIF."""
MAX_XMP_BYTES = 65_504
"""The same for XMP."""
EXIF_NAME = b"Exif\0\0"

_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))[2-8]")
_TIFF_TAGS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
)
"""Those of a TIFF file that tell of the picture, not of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """EXIF and XMP; what is empty is not there."""

    exif: bytes = b""
    """A TIFF structure, without the name ``Exif`` before it."""
    xmp: bytes = b""
    """A packet, XML in UTF-8."""

    def __post_init__(self) -> None:
        if len(self.exif) > MAX_EXIF_BYTES or len(self.xmp) > MAX_XMP_BYTES:
            raise ValueError("EXIF or XMP is over its limit")

    def __bool__(self) -> bool:
        return bool(self.exif or self.xmp)


NO_METADATA = Metadata()


def read_metadata(image: ImageFile.ImageFile, *, now_srgb: bool) -> Metadata:
    """The metadata of a loaded file, as it suits the upright picture.

    The orientation is 1, the thumbnail is left out, a broken EXIF block too. ``now_srgb`` says that
    a profile was applied. Raises UnsupportedImageError if EXIF or XMP is over its limit.
    """
    exif = settle_exif(_exif(image), now_srgb=now_srgb)
    xmp = image.info.get("xmp")
    xmp = _XMP_ORIENTATION.sub(rb"\g<1>1", xmp) if isinstance(xmp, bytes) else b""
    for name, block, limit in (("EXIF", exif, MAX_EXIF_BYTES), ("XMP", xmp, MAX_XMP_BYTES)):
        if len(block) > limit:
            raise UnsupportedImageError(
                f"the file's {name} has {len(block)} bytes, over the limit of {limit}: "
                "compress it without its metadata"
            )
    return Metadata(exif=exif, xmp=xmp)


def _exif(image: ImageFile.ImageFile) -> bytes:
    if isinstance(image, TiffImageFile):
        return _tiff_exif(image)
    block: Any = image.info.get("exif")
    return block.removeprefix(EXIF_NAME) if isinstance(block, bytes) else b""


def _tiff_exif(image: TiffImageFile) -> bytes:
    """A TIFF is an EXIF block itself: what of it tells of the picture."""
    try:
        whole, kept = image.getexif(), Image.Exif()
        for tag in _TIFF_TAGS:
            if tag in whole:
                kept[tag] = whole[tag]
        for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if entries := whole.get_ifd(directory):
                kept[directory] = entries
        return kept.tobytes().removeprefix(EXIF_NAME) if len(kept) else b""
    except Exception:  # a broken one is left out, as elsewhere
        return b""
