"""From what the service made or knows to the contract's messages."""

from typing import Any, Protocol, TypeVar

from kompakt.v1 import compression_pb2 as pb
from kompakt_codec.crc import crc32c
from kompakt_codec.frame import LEVEL_STEPS
from kompakt_codec.header import Measured
from kompakt_codec.metrics import psnr_db
from kompakt_service import messages
from kompakt_service.compressing import Compressed
from kompakt_service.decoding import Decompressed
from kompakt_service.store import LoadedModel, Models

_Result = TypeVar("_Result")


class _Results(Protocol[_Result]):
    """A repeated field."""

    def add(self, **fields: Any) -> _Result: ...

    def append(self, result: _Result) -> None: ...


def add_compressed(item: Compressed, index: int, results: _Results[pb.CompressResult]) -> None:
    """Append a compressed image to an answer."""
    height, width, channels = item.shape
    num_bytes = len(item.stream)
    result = results.add(
        index=index,
        size_bytes=num_bytes,
        bits_per_pixel=8 * num_bytes / (height * width),
        height=height,
        width=width,
        channels=channels,
        fitted=item.fitted,
        mse=item.mse,
        psnr_db=psnr_db(item.mse) if item.mse else None,
        codec=item.codec,
        level=None if item.level is None else int(item.level),
        level_eighths=int((item.level or 0) * LEVEL_STEPS) % LEVEL_STEPS,
        metadata_bytes=item.metadata_bytes,
    )
    stream = result.stream
    stream.data = item.stream
    stream.crc32c = crc32c(item.stream)
    if item.symbols is not None:
        result.latents.CopyFrom(messages.tensor(item.symbols))
    if item.reconstruction is not None:
        messages.write_raw(item.reconstruction, result.reconstruction)


def add_decompressed(
    item: Decompressed, index: int, results: _Results[pb.DecompressResult]
) -> None:
    """Append a decompressed image to an answer."""
    height, width, channels = item.pixels.shape
    result = results.add(
        index=index,
        height=height,
        width=width,
        channels=channels,
        model=item.model,
        codec=item.codec,
    )
    if item.encoded is None:
        messages.write_raw(item.pixels, result.image.raw)
    else:
        result.image.encoded = item.encoded


def add_evaluated(
    result: pb.EvaluateResult, index: int, results: _Results[pb.EvaluateResult]
) -> None:
    """Append an evaluated image to an answer."""
    result.index = index
    results.append(result)


def describe_model(model: LoadedModel, models: Models) -> pb.Model:
    """All that the contract tells of a loaded model."""
    header, sizes = model.codec.header, model.codec.sizes
    described = pb.Model(
        name=header.name,
        fingerprint=header.fingerprint,
        synthesis_hash=header.synthesis_hash,
        architecture=header.architecture,
        accepted_sizes=[
            pb.SizeRange(
                min_height=sizes.least[0],
                max_height=sizes.most[0],
                min_width=sizes.least[1],
                max_width=sizes.most[1],
            )
        ],
        channels=header.channels,
        latent_shape=header.latent_shape,
        num_parameters=model.codec.num_parameters,
        checkpoint_bytes=model.checkpoint_bytes,
        training=pb.TrainingInfo(**header.training.model_dump(exclude={"details"})),
        is_default=models.get("") is model,
        levels=header.levels,
        default_level=header.default_level,
        has_eighths=model.codec.levels.has_between,
        labels=header.labels,
        curve=[_measured(point) for point in header.curve],
        version=model.version.label,
        is_current=models.is_current(model),
    )
    if header.measured is not None:
        described.measured.CopyFrom(_measured(header.measured))
    return described


def _measured(measured: Measured) -> pb.MeasuredQuality:
    return pb.MeasuredQuality(**measured.model_dump())
