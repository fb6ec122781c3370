"""From what the service made or knows to the contract's messages."""

from kompakt.v1 import compression_pb2 as pb
from kompakt_codec.metrics import psnr_db
from kompakt_service import messages
from kompakt_service.pipeline import Compressed, Decompressed
from kompakt_service.store import LoadedModel, ModelStore


def compress_result(item: Compressed, options: pb.CompressOptions) -> pb.CompressResult:
    """A compressed image, with what the options ask for."""
    height, width, channels = item.pixels.shape
    result = pb.CompressResult(
        stream=messages.compressed_image(item.stream),
        size_bytes=len(item.stream),
        bits_per_pixel=8 * len(item.stream) / (height * width),
        height=height,
        width=width,
        channels=channels,
        fitted=item.fitted,
    )
    if options.return_latents:
        result.latents.CopyFrom(messages.tensor(item.symbols))
    if item.reconstruction is not None and item.mse is not None:
        result.reconstruction.CopyFrom(messages.raw_image(item.reconstruction))
        result.mse = item.mse
        if item.mse:
            result.psnr_db = psnr_db(item.mse)
    return result


def decompress_result(item: Decompressed) -> pb.DecompressResult:
    """A decompressed image."""
    height, width, channels = item.shape
    return pb.DecompressResult(
        image=item.image, height=height, width=width, channels=channels, model=item.model
    )


def describe_model(model: LoadedModel, store: ModelStore) -> pb.Model:
    """All that the contract tells of a loaded model."""
    header = model.codec.header
    described = pb.Model(
        name=header.name,
        fingerprint=header.fingerprint,
        synthesis_hash=header.synthesis_hash,
        architecture=header.architecture,
        accepted_sizes=[
            pb.SizeRange(
                min_height=header.height,
                max_height=header.height,
                min_width=header.width,
                max_width=header.width,
            )
        ],
        channels=header.channels,
        latent_shape=header.latent_shape,
        num_parameters=model.codec.num_parameters,
        checkpoint_bytes=model.checkpoint_bytes,
        training=pb.TrainingInfo(**header.training.model_dump(exclude={"details"})),
        is_default=header.name == store.default_name,
    )
    if header.measured is not None:
        described.measured.CopyFrom(pb.MeasuredQuality(**header.measured.model_dump()))
    return described
