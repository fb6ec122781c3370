"""Messages turned into results."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from google.protobuf.message import Message

from kompakt.v1 import compression_pb2 as pb
from kompakt_client._arrays import numbers_of, pixels_of
from kompakt_client._measurements import (
    Evaluation,
    ImageEvaluation,
    MeasuredQuality,
    Measurement,
    ModelInfo,
    ServerInfo,
    SizeRange,
    TrainingInfo,
)
from kompakt_client._names import Format, Profile
from kompakt_client._results import Compressed, Decompressed, Failure, Timings
from kompakt_client._status import broken_answer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_T = TypeVar("_T")

_DTYPES: dict[int, Literal["u1", "<i2"]] = {pb.DATA_TYPE_UINT8: "u1", pb.DATA_TYPE_INT16: "<i2"}


def to_compressed(
    profile: Profile,
    result: pb.CompressResult,
    response: pb.CompressResponse | pb.StreamCompressResponse,
    index: int,
) -> Compressed:
    """Convert one result of Compress."""
    has = result.HasField
    return Compressed(
        data=result.stream.data,
        model=response.model,
        codec=result.codec or response.model,
        fingerprint=response.fingerprint,
        profile=profile,
        crc32c=result.stream.crc32c,
        bits_per_pixel=result.bits_per_pixel,
        height=result.height,
        width=result.width,
        channels=result.channels,
        fitted=result.fitted,
        level=_level(result) if has("level") else None,
        metadata_bytes=result.metadata_bytes,
        latents=_tensor(result.latents) if has("latents") else None,
        reconstruction=_pixels(result.reconstruction) if has("reconstruction") else None,
        mse=result.mse if has("mse") else None,
        psnr_db=result.psnr_db if has("psnr_db") else None,
        timings=_timings(response),
        index=index,
    )


def _level(result: pb.CompressResult) -> float:
    eighths = result.level_eighths
    return result.level + eighths / 8 if eighths else result.level


def to_decompressed(
    image_format: Format,
    result: pb.DecompressResult,
    response: pb.DecompressResponse | pb.StreamDecompressResponse,
    index: int,
) -> Decompressed:
    """Convert one result of Decompress."""
    return Decompressed(
        data=result.image.raw.data if image_format == "raw" else result.image.encoded,
        format=image_format,
        height=result.height,
        width=result.width,
        channels=result.channels,
        model=result.model,
        codec=result.codec or result.model,
        timings=_timings(response),
        index=index,
    )


def to_image_evaluation(result: pb.EvaluateResult, index: int) -> ImageEvaluation:
    """Convert one result of Evaluate."""
    return ImageEvaluation(
        index=index,
        measurements=_measurements(result.measurements),
        reconstructions={made.model: _pixels(made.image) for made in result.reconstructions},
    )


def to_evaluation(images: tuple[ImageEvaluation | Failure, ...], summary: Any) -> Evaluation:
    """Convert the images' results and the message that pools them; no images have none.

    Raises ServerError if the server left that message out.
    """
    if images and summary is None:
        raise broken_answer("the measurements were not pooled")
    return Evaluation(images=images, pooled=_measurements(summary.pooled) if summary else ())


def _measurements(messages: Any) -> tuple[Measurement, ...]:
    """Convert measurements, in their order."""
    return tuple(_mirror(Measurement, message) for message in messages)


def to_model_info(model: pb.Model) -> ModelInfo:
    """Convert the description of a model."""
    sizes = tuple(_mirror(SizeRange, size) for size in model.accepted_sizes)
    measured, training = model.HasField("measured"), model.HasField("training")
    return _mirror(
        ModelInfo,
        model,
        accepted_sizes=sizes,
        latent_shape=tuple(model.latent_shape),
        measured=_mirror(MeasuredQuality, model.measured) if measured else None,
        training=_mirror(TrainingInfo, model.training) if training else None,
        curve=tuple(_mirror(MeasuredQuality, point) for point in model.curve),
        labels=tuple(model.labels),
    )


def to_server_info(info: pb.GetServerInfoResponse) -> ServerInfo:
    """Convert the description of a server."""
    return _mirror(ServerInfo, info, image_formats=tuple(info.image_formats))


def _mirror(cls: type[_T], message: Message, **converted: Any) -> _T:
    """Copy a message into the dataclass whose fields have the same names."""
    names = {item.name for item in fields(cls)} - converted.keys()  # type: ignore[arg-type]
    return cls(**converted, **{name: _optional(message, name) for name in names})


def _optional(message: Message, name: str) -> Any:
    """Return a field, or None where it can be absent and is."""
    if message.DESCRIPTOR.fields_by_name[name].has_presence and not message.HasField(name):
        return None
    return getattr(message, name)


def _timings(response: Message) -> Timings | None:
    if not isinstance(response, pb.CompressResponse | pb.DecompressResponse):
        return None
    return Timings(
        **{
            stage.name: getattr(response.timings, stage.name).ToTimedelta().total_seconds()
            for stage in fields(Timings)
        }
    )


def _tensor(tensor: pb.Tensor) -> npt.NDArray[np.generic]:
    return numbers_of(tensor.data, tuple(tensor.shape), _DTYPES[tensor.data_type])


def _pixels(raw: pb.RawImage) -> npt.NDArray[np.uint8]:
    return pixels_of(raw.data, raw.height, raw.width, raw.channels or 1)
