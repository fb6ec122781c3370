"""Images: files from outside to pixels, pixels to files, and pixels fitted to a model.

Pixels are uint8 arrays (height, width, channels), C-contiguous, with 1 channel for grey and 3 for
RGB.
"""

from kompakt_codec.images._decode import (
    IMAGE_FORMATS,
    DecodedFile,
    decode_file,
    decode_image,
    image_shape,
)
from kompakt_codec.images._encode import JPEG_MAX_SIDE, WEBP_MAX_SIDE, FileFormat, encode_image
from kompakt_codec.images._fit import Fit, fit_image, match_channels
from kompakt_codec.images._metadata import (
    MAX_EXIF_BYTES,
    MAX_XMP_BYTES,
    NO_METADATA,
    Metadata,
)
from kompakt_codec.images._pixels import (
    DEFAULT_LIMITS,
    MAX_SIDE,
    ImageLimits,
    Pixels,
    from_pillow,
    image_from_raw,
    to_pillow,
)

__all__ = [
    "DEFAULT_LIMITS",
    "IMAGE_FORMATS",
    "JPEG_MAX_SIDE",
    "MAX_EXIF_BYTES",
    "MAX_SIDE",
    "MAX_XMP_BYTES",
    "NO_METADATA",
    "WEBP_MAX_SIDE",
    "DecodedFile",
    "FileFormat",
    "Fit",
    "ImageLimits",
    "Metadata",
    "Pixels",
    "decode_file",
    "decode_image",
    "encode_image",
    "fit_image",
    "from_pillow",
    "image_from_raw",
    "image_shape",
    "match_channels",
    "to_pillow",
]
