"""From what the service made or knows to the contract's messages."""

from kompakt.v1 import compression_pb2 as pb
from kompakt_codec.checkpoint import Measured
from kompakt_codec.metrics import psnr_db
from kompakt_service import messages
from kompakt_service.pipeline import Compressed, Decompressed
from kompakt_service.store import LoadedModel, ModelStore


def compress_result(item: Compressed) -> pb.CompressResult:
    """A compressed image."""
    height, width, channels = item.shape
    made = item.made
    result = pb.CompressResult(
        stream=messages.compressed_image(made.stream),
        size_bytes=len(made.stream),
        bits_per_pixel=8 * len(made.stream) / (height * width),
        height=height,
        width=width,
        channels=channels,
        fitted=item.fitted,
        mse=made.mse,
        psnr_db=psnr_db(made.mse) if made.mse else None,
        codec=made.codec,
        level=made.level,
    )
    if made.symbols is not None:
        result.latents.CopyFrom(messages.tensor(made.symbols))
    if made.reconstruction is not None:
        result.reconstruction.CopyFrom(messages.raw_image(made.reconstruction))
    return result


def decompress_result(item: Decompressed) -> pb.DecompressResult:
    """A decompressed image."""
    height, width, channels = item.shape
    return pb.DecompressResult(
        image=item.image,
        height=height,
        width=width,
        channels=channels,
        model=item.model,
        codec=item.codec,
    )


def describe_model(model: LoadedModel, store: ModelStore) -> pb.Model:
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
        is_default=header.name == store.default_name,
        levels=header.levels,
        default_level=header.default_level,
        labels=header.labels,
        curve=[_measured(point) for point in header.curve],
    )
    if header.measured is not None:
        described.measured.CopyFrom(_measured(header.measured))
    return described


def _measured(measured: Measured) -> pb.MeasuredQuality:
    return pb.MeasuredQuality(**measured.model_dump())
