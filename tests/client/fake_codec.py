"""What the fake server does to one image or stream, and its errors."""

import io
import struct
import zlib
from collections.abc import Iterable
from typing import Any

from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from PIL import Image

from kompakt.v1 import compression_pb2 as pb

MAX_ROWS = 64
METADATA_BYTES = 7
FINGERPRINT = "f1" * 32
HEADER = struct.Struct(">4sIIB")


def pixels_in(stream: bytes) -> bytes:
    return stream[HEADER.size :]


def stored(results: Iterable[Any]) -> list[bytes]:
    """The pixels in the streams of results of Compress."""
    return [pixels_in(result.data) for result in results]


class ItemError(Exception):
    def __init__(self, code: int, reason: str, message: str, **metadata: str) -> None:
        self.status = make_status(code, message, reason=reason, metadata=metadata or None)


def make_status(
    code: int,
    message: str,
    *,
    reason: str = "",
    retry_after: float | None = None,
    field: str = "",
    domain: str = "kompakt.v1",
    metadata: dict[str, str] | None = None,
) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=message)
    if reason:
        facts = metadata or {"why": "test"}
        info = error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=facts)
        status.details.add().Pack(info)
    if field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description="no")
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(retry_after * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def pixels_of(image: pb.Image) -> tuple[int, int, int, bytes]:
    if image.WhichOneof("source") == "raw":
        raw = image.raw
        return raw.height, raw.width, raw.channels, raw.data
    try:
        opened = Image.open(io.BytesIO(image.encoded))
    except OSError as error:
        raise ItemError(code_pb2.INVALID_ARGUMENT, "INVALID_IMAGE", "not an image") from error
    opened = opened if opened.mode in ("L", "RGB") else opened.convert("RGB")
    return opened.height, opened.width, len(opened.getbands()), opened.tobytes()


def compress(image: pb.Image, options: pb.CompressOptions) -> pb.CompressResult:
    height, width, channels, data = pixels_of(image)
    fitted = height > MAX_ROWS and options.fit > pb.FIT_REFUSE
    if height > MAX_ROWS and not fitted:
        message = f"the model accepts at most {MAX_ROWS} rows, not {height}"
        raise ItemError(code_pb2.INVALID_ARGUMENT, "WRONG_SIZE", message)
    if fitted:
        height, data = MAX_ROWS, data[: MAX_ROWS * width * channels]
    stream = HEADER.pack(b"FAKE", height, width, channels) + data
    quality = options.WhichOneof("quality")
    if quality == "max_bytes" and len(stream) > options.max_bytes:
        message = f"no stream of this image fits into {options.max_bytes} bytes"
        nearest = {"size_bytes": str(len(stream)), "mse": "0.01", "psnr_db": "20.0"}
        raise ItemError(code_pb2.FAILED_PRECONDITION, "QUALITY_UNREACHABLE", message, **nearest)
    result = pb.CompressResult(
        stream=pb.CompressedImage(data=stream, crc32c=zlib.crc32(stream)),
        size_bytes=len(stream),
        bits_per_pixel=8 * len(stream) / (height * width),
        height=height,
        width=width,
        channels=channels,
        fitted=fitted,
        codec="png" if options.lossless else name_of(options),
        level=None if options.lossless else options.level,
        level_eighths=options.level_eighths,
        metadata_bytes=METADATA_BYTES if options.keep_metadata else 0,
    )
    if options.lossless:
        result.mse = 0.0
    elif quality not in (None, "level"):
        result.mse, result.psnr_db = 0.01, 20.0
    if options.return_latents:
        numbers = struct.pack("<3h", -300, 0, 7)
        result.latents.CopyFrom(
            pb.Tensor(data=numbers, shape=[3, 1, 1], data_type=pb.DATA_TYPE_INT16)
        )
    if options.return_reconstruction:
        result.reconstruction.CopyFrom(
            pb.RawImage(data=data, height=height, width=width, channels=channels)
        )
        result.mse = 0.0
    return result


def decompress(stream: pb.CompressedImage, options: pb.DecompressOptions) -> pb.DecompressResult:
    if not stream.data.startswith(b"FAKE"):
        raise ItemError(code_pb2.INVALID_ARGUMENT, "INVALID_STREAM", "not a stream")
    if stream.crc32c and zlib.crc32(stream.data) != stream.crc32c:
        raise ItemError(code_pb2.DATA_LOSS, "CORRUPT_STREAM", "the check does not match")
    _, height, width, channels = HEADER.unpack_from(stream.data)
    pixels = pixels_in(stream.data)
    result = pb.DecompressResult(
        height=height,
        width=width,
        channels=channels,
        model=name_of(options),
        codec=name_of(options),
    )
    if options.format == pb.IMAGE_FORMAT_RAW:
        result.image.raw.CopyFrom(
            pb.RawImage(data=pixels, height=height, width=width, channels=channels)
        )
        return result
    names = {2: "PNG", 3: "WEBP", 4: "BMP", 5: "TIFF", 6: "JPEG"}
    file = io.BytesIO()
    mode = "L" if channels == 1 else "RGB"
    Image.frombytes(mode, (width, height), pixels).save(file, names[options.format])
    result.image.encoded = file.getvalue()
    return result


def name_of(options: pb.CompressOptions | pb.DecompressOptions) -> str:
    return options.model.partition("@")[0] or "fake-ae"


def evaluate(image: pb.Image, options: pb.EvaluateOptions) -> pb.EvaluateResult:
    height, width, channels, data = pixels_of(image)
    result = pb.EvaluateResult()
    models = options.models or ["fake-ae", "fake-vae"]
    for model in models:
        result.measurements.add(codec=model, size_bytes=50, mse=0.01, psnr_db=20.0, num_images=1)
    if not options.skip_baselines:
        result.measurements.add(codec="zip", size_bytes=200, num_images=1)
        result.measurements.add(
            codec="webp", reference_model=models[0], size_bytes=100, mse=0.01, num_images=1
        )
    for measurement in result.measurements:
        measurement.bits_per_pixel = 8 * measurement.size_bytes / (height * width)
        measurement.encode_seconds = 0.001
    if options.return_reconstructions:
        for model in models:
            raw = pb.RawImage(data=data, height=height, width=width, channels=channels)
            result.reconstructions.add(model=model, image=raw)
    return result


def pool(results: Iterable[pb.EvaluateResult]) -> list[pb.Measurement]:
    pooled: dict[str, pb.Measurement] = {}
    for result in results:
        for one in result.measurements:
            total = pooled.setdefault(one.codec, pb.Measurement(codec=one.codec))
            total.reference_model = one.reference_model
            total.size_bytes += one.size_bytes
            total.encode_seconds += one.encode_seconds
            total.num_images += 1
    return list(pooled.values())
