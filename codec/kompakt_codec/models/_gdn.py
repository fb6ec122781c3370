"""Transforms of four strided convolutions with divisive normalisation between them.

Ballé et al. 2017, "End-to-end Optimized Image Compression", with the kernels of Ballé et al. 2018,
"Variational Image Compression with a Scale Hyperprior". Layers stand at the places where CompressAI
has them, so that weights trained there fit.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from kompakt_codec.models._blocks import ON_CPU

STRIDE = 16
REACH = 2
"""A latent is made of what is up to 30 pixels away, and seen two latents away."""
KERNEL = 5
MAX_WIDTH = 1024
_LEAST_BETA = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class GdnConfig:
    """Channels between the convolutions, and of the latents."""

    width: int = 128
    latents: int = 192

    def __post_init__(self) -> None:
        if not 1 <= self.width <= MAX_WIDTH or not 1 <= self.latents <= MAX_WIDTH:
            raise ValueError(f"width and latents must be 1 to {MAX_WIDTH}")


class Gdn(nn.Module):
    """Each channel over the root of beta plus all channels' weighted squares; or times that root.

    (Ballé et al. 2016, "Density Modeling of Images using a Generalized Normalization
    Transformation".) ``beta`` (C,) and ``gamma`` (C, C) are taken as at least 1e-6 and 0.
    """

    def __init__(self, channels: int, *, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.ones(channels))
        with ON_CPU:
            self.gamma = nn.Parameter(0.1 * torch.eye(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (N, C, h, w) to the same."""
        gamma, beta = self.gamma.clamp(min=0), self.beta.clamp(min=_LEAST_BETA)
        norm = functional.conv2d(x * x, gamma[:, :, None, None], beta)
        return x * (torch.sqrt(norm) if self.inverse else torch.rsqrt(norm))


def down(inputs: int, outputs: int) -> nn.Conv2d:
    """5x5, to half the height and width."""
    return nn.Conv2d(inputs, outputs, KERNEL, stride=2, padding=KERNEL // 2)


def up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """5x5, to twice the height and width."""
    return nn.ConvTranspose2d(
        inputs, outputs, KERNEL, stride=2, padding=KERNEL // 2, output_padding=1
    )


def analysis(channels: int, config: GdnConfig) -> nn.Sequential:
    """g_a: images (N, channels, 16h, 16w) to features (N, latents, h, w)."""
    width = config.width
    return nn.Sequential(
        down(channels, width),
        Gdn(width),
        down(width, width),
        Gdn(width),
        down(width, width),
        Gdn(width),
        down(width, config.latents),
    )


def synthesis(channels: int, config: GdnConfig) -> nn.Sequential:
    """g_s: features (N, latents, h, w) to images (N, channels, 16h, 16w)."""
    width = config.width
    return nn.Sequential(
        up(config.latents, width),
        Gdn(width, inverse=True),
        up(width, width),
        Gdn(width, inverse=True),
        up(width, width),
        Gdn(width, inverse=True),
        up(width, channels),
    )


def fill(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Repeat the last row and column of images until both sides are a multiple."""
    height, width = x.shape[2:]
    return functional.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")
