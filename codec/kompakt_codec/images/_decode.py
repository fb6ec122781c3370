"""Image files from outside to pixels.

Files are hostile: their format is told by their first bytes and their size by their header, before
any memory is taken for pixels, and whatever goes wrong in reading them is a CodecError.
"""

import io
import re
import struct
from dataclasses import dataclass
from functools import partial

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
from kompakt_codec.images._avif import check_avif
from kompakt_codec.images._colour import to_srgb
from kompakt_codec.images._deep import TOO_DEEP, is_deep, reduce_to_8_bits
from kompakt_codec.images._metadata import NO_METADATA, Metadata, read_metadata
from kompakt_codec.images._pixels import (
    DEFAULT_LIMITS,
    ImageLimits,
    Pixels,
    channels_are_equal,
    from_pillow,
)
from kompakt_codec.images._png import scale_transparent_grey, split_profile


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
_FOREIGN = {
    "HEIC": re.compile(rb"....ftyp(?:heic|heix|heim|heis|hevc|hevx)", re.DOTALL),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "JPEG 2000": re.compile(rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  "),
}
"""Images of other formats, so that they are not called none."""
IMAGE_FORMATS = tuple(_READERS)
"""The file formats that decode_image reads."""

# How Pillow words the refusal of a sound file whose pixel type it does not know.
_UNSUPPORTED = re.compile(
    r"-bit layers|-layer images|unknown pixel mode|BMP pixel depth|conversion from"
)
# An AV1 image's configuration: marker, profile, and a byte whose second bit stands for 10 or 12
# bits a channel, which Pillow would reduce to 8 in silence.
_DEEP_AVIF = re.compile(rb"av1C\x81.[\x40-\x7f\xc0-\xff]", re.DOTALL)

_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323
_EXIF_ORIENTATION = 274
_TURNED = (5, 6, 7, 8)
_GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B")
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedFile:
    """An image file's picture."""

    pixels: Pixels
    """(height, width, 1 or 3), upright, in sRGB."""
    adapted: bool
    """Whether bits or transparency were given up."""
    metadata: Metadata = NO_METADATA
    """Empty unless it was asked for."""


def decode_image(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> Pixels:
    """Decode an image file as ``decode_file`` does, and return its pixels alone."""
    return decode_file(data, limits).pixels


def image_shape(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> tuple[int, int, int] | None:
    """(height, width, 1 or 3) that an image file's header tells; a palette counts as 3.

    None if it tells none; what is wrong with the file, ``decode_file`` says.
    """
    try:
        with _open(_format_of(data), data, limits) as image:
            # A TIFF file's size is the upright one if its own tag turns it.
            is_upright = isinstance(image, TiffImageFile) and _EXIF_ORIENTATION in image.tag_v2
            turned = not is_upright and _orientation(image) in _TURNED
            height, width = image.size if turned else image.size[::-1]
            return height, width, 1 if image.mode in _GREY_MODES else 3
    except Exception:
        return None


def decode_file(
    data: bytes,
    limits: ImageLimits = DEFAULT_LIMITS,
    *,
    adapt: bool = False,
    keep_metadata: bool = False,
) -> DecodedFile:
    """Decode the first frame of a PNG, JPEG, WebP, AVIF, BMP, TIFF or GIF file.

    An EXIF orientation is applied. An ICC profile that is not sRGB is applied, one that cannot be
    used is ignored. A palette becomes RGB, or grey if all its colours in use are grey; CMYK and
    YCbCr become RGB. Alpha that is opaque everywhere is dropped. With ``adapt``, other alpha is
    laid over black, and 16-bit grey and RGB of PNG and TIFF files is rounded to 8 bits.

    Raises ImageTooLargeError for more bytes or pixels than limits allow, UnsupportedImageError for
    deep channels and transparency without adapt, for kinds of deep channels that it does not
    reduce and for metadata that is too long to be kept, and InvalidImageError for all else that
    is not a sound file of these formats.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLargeError(
            f"the file has {len(data)} bytes, over the limit of {limits.max_bytes}"
        )
    name = _format_of(data)
    try:
        with _open(name, data, limits) as image:
            if not is_deep(image):
                return _read(image, image, adapt=adapt, keep_metadata=keep_metadata)
            if not adapt:
                raise UnsupportedImageError(TOO_DEEP)
            shallow = reduce_to_8_bits(image, partial(_open, name, data, limits))
            return _read(image, shallow, adapt=True, keep_metadata=keep_metadata)
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
    accepted = f"accepted are {', '.join(IMAGE_FORMATS)}"
    for foreign, signature in _FOREIGN.items():
        if signature.match(data):
            raise UnsupportedImageError(f"{foreign} is not read: {accepted}")
    raise InvalidImageError(f"{'not an image' if data else 'an empty file'}: {accepted}")


def _open(name: str, data: bytes, limits: ImageLimits) -> ImageFile.ImageFile:
    """Read the header and check its sizes.

    The reader is called by itself because Image.open warns of sizes by a global limit of its own.
    """
    if name == "AVIF" and _DEEP_AVIF.search(data):
        raise UnsupportedImageError(TOO_DEEP)
    if name == "AVIF":
        check_avif(data, limits)
    if name == "WebP":
        limits.check_size(*_webp_size(data))
    if name == "PNG":  # by its first chunk, since Pillow's reader wants to see pixels too
        width, height = struct.unpack_from(">II", data, 16)
        limits.check_size(height, width)
        data, profile = split_profile(data)
    _, reader = _READERS[name]
    image = reader(io.BytesIO(data))
    limits.check_size(image.height, image.width)
    if isinstance(image, TiffImageFile) and _TIFF_TILE_WIDTH in image.tag_v2:
        limits.check_size(image.tag_v2[_TIFF_TILE_LENGTH], image.tag_v2[_TIFF_TILE_WIDTH])
    if isinstance(image, PngImageFile):
        image.verify()  # the checksums, which reading pixels leaves out; it closes the image
        image = PngImageFile(io.BytesIO(data))
        image.info["icc_profile"] = profile
        scale_transparent_grey(image)
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


def _read(
    file: ImageFile.ImageFile, image: Image.Image, *, adapt: bool, keep_metadata: bool
) -> DecodedFile:
    """The picture of a file, whose pixels are in the image: the file, or what it was reduced to."""
    image.load()
    has_palette = image.mode in ("P", "PA")
    colour, alpha = _split(_upright(file, image))
    colour, was_converted = to_srgb(colour, file.info.get("icc_profile"))
    pixels = from_pillow(colour)
    is_transparent = alpha is not None and alpha.getextrema() != (255, 255)
    if alpha is not None and is_transparent:
        if not adapt:
            raise UnsupportedImageError(
                "the image has transparent pixels: flatten it, or ask for a fit, such as "
                "contain, which lays it over black"
            )
        pixels = ((pixels.astype(np.uint16) * from_pillow(alpha) + 127) // 255).astype(np.uint8)
    if has_palette and channels_are_equal(pixels):
        pixels = pixels[..., :1].copy()
    return DecodedFile(
        pixels=pixels,
        adapted=is_transparent or file is not image,
        metadata=read_metadata(file, now_srgb=was_converted) if keep_metadata else NO_METADATA,
    )


def _upright(file: ImageFile.ImageFile, image: Image.Image) -> Image.Image:
    """Turn a loaded file's image as its EXIF block says."""
    method = _TRANSPOSE.get(_orientation(file))
    return image if method is None else image.transpose(method)


def _orientation(file: ImageFile.ImageFile) -> int:
    try:
        orientation = file.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # a broken block is ignored, as viewers do
        return 1
    return orientation if isinstance(orientation, int) else 1


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours, of mode L, RGB or CMYK, and the alpha channel if there is one."""
    opaque = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if not image.has_transparency_data:
        return (image if image.mode in (opaque, "CMYK") else image.convert(opaque)), None
    whole = image.convert(f"{opaque}A")
    return whole.convert(opaque), whole.getchannel("A")


def _reason(error: Exception) -> str:
    """What Pillow says, on one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text[:100])
