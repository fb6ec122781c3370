"""From CompressAI's weights to a model and its frozen entropy path."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.codec import Codec
from kompakt_codec.entropy import EntropyModel
from kompakt_codec.frame import Profile, parse_frame
from kompakt_codec.gaussian_coder import GaussianEntropy
from kompakt_codec.header import Measured, Training
from kompakt_codec.images import Pixels
from kompakt_codec.metrics import psnr_db
from kompakt_codec.models import ImageSpec, TransformModel, build_model
from kompakt_codec.models.gdn_hyperprior import LEAKY_SLOPE
from kompakt_codec.scale_coder import ScaleTables, gaussian_tables
from kompakt_codec.scale_network import UNIT_BITS, ScaleNetwork
from kompakt_codec.table_coder import TableEntropy
from kompakt_training.compressai_density import (
    LARGEST_SCALE,
    LEAST_SCALE,
    NUM_SCALES,
    Density,
    HyperRate,
    Rate,
    scale_layers,
    side_tables,
)
from kompakt_training.compressai_names import FACTORIZED, MEAN
from kompakt_training.compressai_state import CompressaiState

SPEC = ImageSpec(height=256, width=256, channels=3)
"""The crops that CompressAI trains on; frames of that size write no shape."""
_FACTORIZED_REACH = 255


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What becomes of a state dict.

    ``architecture`` and ``config`` are Kompakt's, ``rate`` is CompressAI's estimate.
    """

    architecture: str
    config: dict[str, int]
    model: TransformModel
    entropy: EntropyModel
    rate: Rate

    def checkpoint(
        self, *, name: str, training: Training, measured: Measured | None = None
    ) -> Checkpoint:
        """A checkpoint that loads like any other."""
        return Checkpoint.create(
            name=name,
            architecture=self.architecture,
            config=self.config,
            spec=SPEC,
            model=self.model,
            entropy=self.entropy,
            training=training,
            measured=measured,
        )


def import_state(state: CompressaiState) -> Imported:
    """Build the model and freeze its probabilities.

    Raises CheckpointError for weights that no exact entropy path can hold.
    """
    density = Density(state)
    config = {"width": state.width, "latents": state.latents}
    if state.architecture == FACTORIZED:
        architecture = "gdn-factorized"
        tables = density.tables(least_reach=_FACTORIZED_REACH)
        entropy: EntropyModel = TableEntropy([tables])
        rate: Rate = density
    else:
        architecture = "gdn-hyperprior"
        config["means"] = int(state.architecture == MEAN)
        entropy, rate = _freeze(state, density), HyperRate(state, density)
    model = build_model(architecture, SPEC, config)
    model.load_state_dict(_model_state(state, model, density))
    return Imported(
        architecture=architecture,
        config=config,
        model=model.eval(),
        entropy=entropy,
        rate=rate,
    )


def _freeze(state: CompressaiState, density: Density) -> GaussianEntropy:
    layers = [(weight.numpy(), bias.numpy()) for weight, bias in scale_layers(state)]
    slope = LEAKY_SLOPE if state.architecture == MEAN else 0.0
    scales = np.geomspace(LEAST_SCALE, LARGEST_SCALE, NUM_SCALES)
    # The nearest scale of each, where CompressAI takes the next larger: fewer bytes.
    between = np.sqrt(scales[:-1] * scales[1:]) * 2.0**UNIT_BITS
    return GaussianEntropy(
        network=ScaleNetwork.freeze(layers, slope=slope, medians=density.medians.numpy()),
        side=TableEntropy([side_tables(density)]),
        scales=ScaleTables(gaussian_tables(scales.tolist()), np.rint(between).astype(np.int32)),
    )


def _model_state(
    state: CompressaiState, model: TransformModel, density: Density
) -> dict[str, torch.Tensor]:
    made = {"medians": density.medians.float()}
    for key, expected in model.state_dict().items():
        layer, _, name = key.rpartition(".")
        if key == "medians":
            continue
        value = state.gdn(layer, name) if name in ("beta", "gamma") else state[key]
        # Of CompressAI's last layer of h_s the scales come first, then the means.
        made[key] = value[-len(expected) :] if key.startswith("h_s.4.") else value
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLoss:
    """Real embedded frames beside CompressAI's estimate of the same symbols."""

    measured: Measured
    estimated_bits: float
    """Over all images."""
    payload_bits: int
    """Of all frames, without their framing."""

    @property
    def percent(self) -> float:
        """How much more the payloads take than CompressAI's float model estimates."""
        return 100 * (self.payload_bits / self.estimated_bits - 1)


def measure(codec: Codec, rate: Rate, images: Iterable[Pixels], *, dataset: str) -> RateLoss:
    """Code and decode uint8 images (height, width, 3), at least one, of sizes the codec accepts."""
    count = num_pixels = num_bytes = payload_bits = 0
    error = estimated = 0.0
    profile = Profile.EMBEDDED
    for image in images:
        symbols = codec.analyse(image[None], [0])
        [frame] = codec.encode(symbols, [0], image.shape[:2], profile=profile)
        [decoded] = codec.decompress([frame], profile=profile)
        count, num_bytes = count + 1, num_bytes + len(frame)
        payload_bits += 8 * len(parse_frame(frame, profile).payload)
        estimated += float(rate.bits(symbols)[0])
        num_pixels += math.prod(image.shape[:2])
        error += float(np.square((image.astype(np.float64) - decoded) / 255).sum())
    mse = error / (3 * num_pixels)
    measured = Measured(
        dataset=dataset,
        num_images=count,
        bytes_per_image=num_bytes / count,
        bits_per_pixel=8 * num_bytes / num_pixels,
        mse=mse,
        psnr_db=psnr_db(mse) if mse else None,
    )
    return RateLoss(measured=measured, estimated_bits=estimated, payload_bits=payload_bits)
