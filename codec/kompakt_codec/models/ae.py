"""The paper's autoencoder, with the rounded bottleneck of a compressive autoencoder.

Convolutional encoder, transposed-convolution decoder, trained on the mean squared error alone. What
makes it a codec is the bottleneck: each latent is bounded by tanh to ``levels`` integers, rounded,
and the gradient passes straight through (Theis et al. 2017, "Lossy Image Compression with
Compressive Autoencoders"). The rate is thus at most latents * log2(levels) bits.
"""

from dataclasses import dataclass

import torch
from torch import nn

from kompakt_codec.models._base import ImageSpec, TransformModel
from kompakt_codec.models._blocks import round_straight_through
from kompakt_codec.models._conv import ConvDecoder, ConvEncoder, feature_size


@dataclass(frozen=True, slots=True, kw_only=True)
class AEConfig:
    """Width of the transforms and size of the bottleneck."""

    width: int = 32
    latents: int = 112
    levels: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 512 or not 1 <= self.latents <= 4096:
            raise ValueError("width must be 1 to 512 and latents 1 to 4096")
        if self.levels % 2 != 1 or not 3 <= self.levels <= 255:
            raise ValueError(f"levels must be odd, 3 to 255, not {self.levels}")


class Autoencoder(TransformModel):
    """Images (N, channels, height, width) to (N, latents, 1, 1) integers and back."""

    config_class = AEConfig

    def __init__(self, spec: ImageSpec, config: AEConfig) -> None:
        super().__init__()
        size = (spec.height, spec.width)
        self.latent_shape = (config.latents, 1, 1)
        self.bound = (config.levels - 1) / 2
        self.g_a = nn.Sequential(
            ConvEncoder(spec.channels, config.width),
            nn.Conv2d(2 * config.width, config.latents, feature_size(size)),
            # Without it the latents start below the first rounding threshold and never leave it.
            nn.BatchNorm2d(config.latents, affine=False),
        )
        self.g_s = ConvDecoder(spec.channels, config.width, config.latents, size)

    def analyse(self, x: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """g_a: y in [-bound, bound], (N, latents, 1, 1)."""
        del level
        return self.bound * torch.tanh(self.g_a(x))

    def synthesise(self, y_hat: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """g_s: images in [0, 1]."""
        del level
        return self.g_s(y_hat)  # type: ignore[no-any-return]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruct x through rounded latents, differentiably."""
        return self.synthesise(round_straight_through(self.analyse(x)))
