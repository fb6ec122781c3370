"""Image files from outside to pixels.

Files are hostile: their format is told by their first bytes and their size by their header, before
any memory is taken for pixels, and whatever goes wrong in reading them is a CodecError.
"""

import io
import re
import struct

import numpy as np
from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from kompakt_codec.errors import (
    CodecError,
    ImageTooLargeError,
    InvalidImageError,
    UnsupportedImageError,
)
from kompakt_codec.images._pixels import (
    DEFAULT_LIMITS,
    ImageLimits,
    Pixels,
    channels_are_equal,
    from_pillow,
)


class _FirstFrameGif(GifImageFile):
    """A GIF without disposals: for one, Pillow fills a frame's worth of memory on opening."""

    disposal_method = property(lambda _self: 0, lambda _self, _value: None)


_READERS: dict[str, tuple[re.Pattern[bytes], type[ImageFile.ImageFile]]] = {
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    "JPEG": (re.compile(rb"\xff\xd8\xff"), JpegImageFile),
    "WebP": (re.compile(rb"RIFF....WEBPVP8[ LX]", re.DOTALL), WebPImageFile),
    "AVIF": (re.compile(rb"....ftyp(?:avif|avis|mif1|msf1)", re.DOTALL), AvifImageFile),
    "BMP": (re.compile(rb"BM"), BmpImageFile),
    "TIFF": (re.compile(rb"II[*+]\x00|MM\x00[*+]"), TiffImageFile),
    "GIF": (re.compile(rb"GIF8[79]a"), _FirstFrameGif),
}
IMAGE_FORMATS = tuple(_READERS)
"""The file formats that decode_image reads."""

_TOO_DEEP = "more than 8 bits a channel: convert the image to 8 bits"
# How Pillow words the refusal of a sound file whose pixel type it does not know.
_UNSUPPORTED = re.compile(
    r"-bit layers|-layer images|unknown pixel mode|BMP pixel depth|conversion from"
)
# An AV1 image's configuration: marker, profile, and a byte whose second bit stands for 10 or 12
# bits a channel, which Pillow would reduce to 8 in silence.
_DEEP_AVIF = re.compile(rb"av1C\x81.[\x40-\x7f\xc0-\xff]", re.DOTALL)

_TIFF_BITS_PER_SAMPLE, _TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 258, 322, 323
_EXIF_ORIENTATION = 274
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(
    data: bytes, limits: ImageLimits = DEFAULT_LIMITS, *, flatten: bool = False
) -> Pixels:
    """Decode the first frame of a PNG, JPEG, WebP, AVIF, BMP, TIFF or GIF file.

    An EXIF orientation is applied; an ICC profile is ignored. A palette becomes RGB, or grey if all
    its colours in use are grey; CMYK and YCbCr become RGB. Alpha that is opaque everywhere is
    dropped; other alpha is laid over black if flatten is set.

    Raises ImageTooLargeError for more bytes or pixels than limits allow, UnsupportedImageError for
    more than 8 bits a channel and for transparency without flatten, and InvalidImageError for all
    else that is not a sound file of these formats.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLargeError(
            f"the file has {len(data)} bytes, over the limit of {limits.max_bytes}"
        )
    name = _format_of(data)
    try:
        with _open(name, data, limits) as image:
            return _read(image, flatten=flatten)
    except CodecError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(f"the {name} image is over the limit of pixels") from error
    except Exception as error:
        kind = UnsupportedImageError if _UNSUPPORTED.search(str(error)) else InvalidImageError
        raise kind(f"the {name} file cannot be read: {_reason(error)}") from error


def _format_of(data: bytes) -> str:
    for name, (signature, _) in _READERS.items():
        if signature.match(data):
            return name
    what = "not an image" if data else "an empty file"
    raise InvalidImageError(f"{what}: accepted are {', '.join(IMAGE_FORMATS)}")


def _open(name: str, data: bytes, limits: ImageLimits) -> ImageFile.ImageFile:
    """Read the header and check its sizes.

    The reader is called by itself because Image.open warns of sizes by a global limit of its own.
    """
    if name == "AVIF" and _DEEP_AVIF.search(data):
        raise UnsupportedImageError(_TOO_DEEP)
    if name == "WebP":
        limits.check_size(*_webp_size(data))
    if name == "PNG":  # by its first chunk, since Pillow's reader wants to see pixels too
        width, height = struct.unpack_from(">II", data, 16)
        limits.check_size(height, width)
    _, reader = _READERS[name]
    image = reader(io.BytesIO(data))
    limits.check_size(image.height, image.width)
    if isinstance(image, TiffImageFile) and _TIFF_TILE_WIDTH in image.tag_v2:
        limits.check_size(image.tag_v2[_TIFF_TILE_LENGTH], image.tag_v2[_TIFF_TILE_WIDTH])
    if isinstance(image, PngImageFile):
        image.verify()  # the checksums, which reading pixels leaves out; it closes the image
        image = PngImageFile(io.BytesIO(data))
    return image


def _webp_size(data: bytes) -> tuple[int, int]:
    """Height and width by the header: Pillow's reader takes the canvas's memory on opening."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") for i in (24, 27))
        return height + 1, width + 1
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return height & 0x3FFF, width & 0x3FFF


def _read(image: ImageFile.ImageFile, *, flatten: bool) -> Pixels:
    if _is_deep(image):
        raise UnsupportedImageError(_TOO_DEEP)
    has_palette = image.mode in ("P", "PA")
    pixels = _drop_alpha(_upright(image), flatten=flatten)
    if has_palette and channels_are_equal(pixels):
        return pixels[..., :1].copy()
    return pixels


def _is_deep(image: ImageFile.ImageFile) -> bool:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return True
    if isinstance(image, PngImageFile):
        return str(image.tile[0].args).endswith(";16B")
    if isinstance(image, TiffImageFile):
        return bool(max(image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (1,))) > 8)
    return False


def _upright(image: Image.Image) -> Image.Image:
    """Load the image and turn it as its EXIF block says."""
    image.load()
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
        method = _TRANSPOSE.get(orientation)
    except Exception:  # a broken block is ignored, as viewers do
        return image
    return image if method is None else image.transpose(method)


def _drop_alpha(image: Image.Image, *, flatten: bool) -> Pixels:
    is_grey = image.mode in ("1", "L", "LA", "La")
    if not image.has_transparency_data:
        return from_pillow(image.convert("L" if is_grey else "RGB"))
    pixels = from_pillow(image.convert("LA" if is_grey else "RGBA"))
    colour, alpha = pixels[..., :-1], pixels[..., -1:]
    if alpha.min() == 255:
        return colour.copy()
    if not flatten:
        raise UnsupportedImageError("the image has transparent pixels: flatten it, or set fit")
    return ((colour.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def _reason(error: Exception) -> str:
    """What Pillow says, on one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text[:100])
