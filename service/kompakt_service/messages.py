"""Between the contract's messages and the codec's types; every enum has one table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from google.protobuf import duration_pb2

from kompakt.v1 import compression_pb2 as pb
from kompakt_codec.codec import Codec
from kompakt_codec.envelope import pack_envelope
from kompakt_codec.errors import InvalidImageError, UnsupportedImageError, WrongSizeError
from kompakt_codec.frame import LEVEL_STEPS, Profile
from kompakt_codec.images import (
    DecodedFile,
    FileFormat,
    Fit,
    ImageLimits,
    Pixels,
    decode_file,
    fit_image,
    image_from_raw,
    image_shape,
)
from kompakt_codec.quality import Demand, Fallback
from kompakt_service.call import Timings
from kompakt_service.errors import ServiceError

PROFILES: Mapping[int, Profile] = {
    pb.FRAME_PROFILE_UNSPECIFIED: Profile.FILE,
    pb.FRAME_PROFILE_FILE: Profile.FILE,
    pb.FRAME_PROFILE_EMBEDDED: Profile.EMBEDDED,
}
FITS: Mapping[int, Fit] = {
    pb.FIT_UNSPECIFIED: Fit.REFUSE,
    pb.FIT_REFUSE: Fit.REFUSE,
    pb.FIT_CONTAIN: Fit.CONTAIN,
    pb.FIT_COVER: Fit.COVER,
    pb.FIT_STRETCH: Fit.STRETCH,
}
FALLBACKS: Mapping[int, Fallback] = {
    pb.FALLBACK_UNSPECIFIED: Fallback.BEST,
    pb.FALLBACK_BEST: Fallback.BEST,
    pb.FALLBACK_NEVER: Fallback.NEVER,
    pb.FALLBACK_THOROUGH: Fallback.THOROUGH,
}
FORMATS: Mapping[int, FileFormat | None] = {
    pb.IMAGE_FORMAT_UNSPECIFIED: None,
    pb.IMAGE_FORMAT_RAW: None,
    pb.IMAGE_FORMAT_PNG: FileFormat.PNG,
    pb.IMAGE_FORMAT_WEBP: FileFormat.WEBP,
    pb.IMAGE_FORMAT_BMP: FileFormat.BMP,
    pb.IMAGE_FORMAT_TIFF: FileFormat.TIFF,
    pb.IMAGE_FORMAT_JPEG: FileFormat.JPEG,
}
BASELINES: Mapping[int, str] = {
    pb.BASELINE_ZIP: "zip",
    pb.BASELINE_DEFLATE: "deflate",
    pb.BASELINE_PNG: "png",
    pb.BASELINE_WEBP_LOSSLESS: "webp-lossless",
    pb.BASELINE_JPEG: "jpeg",
    pb.BASELINE_WEBP: "webp",
    pb.BASELINE_AVIF: "avif",
    pb.BASELINE_JPEG_XL: "jpeg-xl",
}
_DATA_TYPES: Mapping[str, pb.DataType.ValueType] = {
    "uint8": pb.DATA_TYPE_UINT8,
    "int16": pb.DATA_TYPE_INT16,
}

_Value = TypeVar("_Value")


def choose(table: Mapping[int, _Value], value: int, field: str) -> _Value:
    """Look an enum's value up. Raises ServiceError INVALID_FIELD for one that is not known."""
    try:
        return table[value]
    except KeyError:
        raise ServiceError(
            "INVALID_FIELD", f"{field}: {value} is not a known value", field=field
        ) from None


def check_count(count: int, max_images: int, field: str) -> None:
    """Raise ServiceError NO_IMAGES or TOO_MANY_IMAGES."""
    if count == 0:
        raise ServiceError("NO_IMAGES", f"the request holds no {field}", field=field)
    error = too_many(count, max_images, field)
    if error is not None:
        raise error


def too_many(count: int, max_images: int, field: str) -> ServiceError | None:
    """The error of a message with more items than it may have; None if it has not."""
    if count <= max_images:
        return None
    return ServiceError(
        "TOO_MANY_IMAGES",
        f"{count} {field} are over the limit of {max_images} a request: split it, or stream",
        field=field,
    )


def read_demand(options: pb.CompressOptions) -> Demand:
    """The quality that is asked for. Raises ServiceError INVALID_FIELD."""
    fallback = choose(FALLBACKS, options.fallback, "options.fallback")
    name = options.WhichOneof("quality")
    quality: dict[str, Any] = {name: getattr(options, name)} if name else {}
    level = read_level(options)
    if level is not None:
        quality["level"] = level
    try:
        return Demand(fallback=fallback, **quality)
    except ValueError as exc:
        message = f"options.{exc}"
        raise ServiceError("INVALID_FIELD", message, field=f"options.{name}") from None


def read_level(options: pb.CompressOptions | pb.EvaluateOptions) -> float | None:
    """The rate level that is asked for, if any. Raises ServiceError INVALID_FIELD."""
    level = options.level if options.HasField("level") else None
    eighths = options.level_eighths
    if not eighths:
        return level
    if level is None or eighths >= LEVEL_STEPS:
        message = f"options.level_eighths is from 0 to {LEVEL_STEPS - 1}, not {eighths}"
        if level is None:
            message = "options.level_eighths needs options.level beside it"
        raise ServiceError("INVALID_FIELD", message, field="options.level_eighths")
    return level + eighths / LEVEL_STEPS


def check_level(demand: Demand, codec: Codec) -> None:
    """Raise ServiceError INVALID_FIELD if a model lacks the level that is demanded."""
    try:
        demand.check_level(codec)
    except ValueError as exc:
        raise ServiceError("INVALID_FIELD", f"options.{exc}", field="options.level") from None


def read_image(
    image: pb.Image,
    codec: Codec,
    fit: Fit,
    limits: ImageLimits,
    *,
    takers: Callable[[tuple[int, ...]], Sequence[str]],
    keep_metadata: bool = False,
) -> tuple[Pixels, bool, bytes]:
    """An image's pixels in a shape that the codec accepts, and whether fitting changed them.

    And the envelope of the metadata that is to be kept, empty if there is none. Raises CodecError;
    for a shape that the codec does not accept it names the models that do, by ``takers``.
    """
    source = _decode(image, limits, fit, keep_metadata=keep_metadata)
    pixels, fitted, header = source.pixels, False, codec.header
    if pixels.shape != (header.height, header.width, header.channels):
        try:
            pixels, fitted = fit_to_codec(pixels, codec, fit)
        except WrongSizeError as exc:
            names = ", ".join(takers(pixels.shape))
            other = f"name a model that takes it ({names}), " if names else ""
            raise WrongSizeError(f"{exc}; {other}or ask for it to be fitted") from None
    return pixels, fitted or source.adapted, pack_envelope(source.metadata)


def told_shape(image: pb.Image, limits: ImageLimits) -> tuple[int, int, int] | None:
    """(height, width, channels) that an image says it has, before it is read; None for none."""
    source = image.WhichOneof("source")
    if source == "encoded":
        return image_shape(image.encoded, limits)
    return None if source is None else (image.raw.height, image.raw.width, image.raw.channels or 1)


def fit_to_codec(pixels: Pixels, codec: Codec, fit: Fit) -> tuple[Pixels, bool]:
    """Pixels in a shape that the codec accepts, the nearest, and whether they changed.

    Raises WrongSizeError if ``fit`` is REFUSE and they would have to.
    """
    size = (pixels.shape[0], pixels.shape[1])
    if fit is Fit.CONTAIN and (scaled := codec.sizes.scaled(size)) in codec.sizes:
        size, fit = scaled, Fit.STRETCH  # there is nothing to fill
    try:
        return fit_image(pixels, *codec.sizes.nearest(size), codec.header.channels, fit)
    except WrongSizeError as exc:
        raise codec.shapes.wrong(pixels.shape) from exc


def decode_source(image: pb.Image, limits: ImageLimits, fit: Fit) -> tuple[Pixels, bool]:
    """An image's pixels as they were sent, uint8 (height, width, channels).

    And whether depth or transparency was given up, which any fit but REFUSE allows.
    """
    source = _decode(image, limits, fit, keep_metadata=False)
    return source.pixels, source.adapted


def _decode(image: pb.Image, limits: ImageLimits, fit: Fit, *, keep_metadata: bool) -> DecodedFile:
    source = image.WhichOneof("source")
    if source == "encoded":
        adapt = fit is not Fit.REFUSE
        return decode_file(image.encoded, limits, adapt=adapt, keep_metadata=keep_metadata)
    if source is None:
        raise InvalidImageError("the image is empty: set encoded or raw")
    raw = image.raw
    if raw.data_type not in (pb.DATA_TYPE_UNSPECIFIED, pb.DATA_TYPE_UINT8):
        raise UnsupportedImageError("raw pixels must be UINT8")
    pixels = image_from_raw(raw.data, raw.height, raw.width, raw.channels or 1, limits=limits)
    return DecodedFile(pixels=pixels, adapted=False)


def raw_image(pixels: Pixels) -> pb.RawImage:
    """Pixels (height, width, channels) as a message."""
    message = pb.RawImage()
    write_raw(pixels, message)
    return message


def write_raw(pixels: Pixels, message: pb.RawImage) -> None:
    """Put pixels (height, width, channels) into a message."""
    message.height, message.width, message.channels = pixels.shape
    message.data = pixels.tobytes()
    message.data_type = pb.DATA_TYPE_UINT8


def tensor(array: npt.NDArray[Any]) -> pb.Tensor:
    """A uint8 or int16 array as a message."""
    return pb.Tensor(
        data=np.ascontiguousarray(array).tobytes(),
        shape=array.shape,
        data_type=_DATA_TYPES[array.dtype.name],
    )


def write_timings(measured: Timings, message: pb.Timings) -> None:
    """Put stage times into a message."""
    _write_seconds(measured.image, message.image)
    _write_seconds(measured.queue, message.queue)
    _write_seconds(measured.transform, message.transform)
    _write_seconds(measured.entropy, message.entropy)


def _write_seconds(seconds: float, message: duration_pb2.Duration) -> None:
    whole = int(seconds)
    if whole:
        message.seconds = whole
    message.nanos = int((seconds - whole) * 1e9)


def describe_sizes(codecs: Iterable[Codec]) -> str:
    """The accepted sizes in words, for errors."""
    return ", ".join(sorted({str(codec.shapes) for codec in codecs}))
