"""A compressive autoencoder with a fully factorized prior.

Convolutional transforms trained on rate plus weighted distortion, every channel of the latents
with a density of its own and all symbols independent (Ballé et al. 2017, "End-to-end Optimized
Image Compression"; Theis et al. 2017, "Lossy Image Compression with Compressive Autoencoders").
The density is a mixture of logistics for each channel and rate level while training; the
checkpoint has integer tables of what the symbols then are.
"""

from dataclasses import dataclass

import torch
from torch import nn

from kompakt_codec.models._base import ImageSpec, RateModel, RateOutput
from kompakt_codec.models._blocks import LevelGain
from kompakt_codec.models._conv import round_straight_through
from kompakt_codec.models._masked import LOG_SCALE_LIMIT, Parameters, mixture_bits
from kompakt_codec.models._pyramid import STRIDE, PyramidAnalysis, PyramidSynthesis

_COMPONENTS = 3
MAX_LEVELS = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorizedConfig:
    """Width and depth of the transforms, channels of the latents, rate levels."""

    width: int = 48
    blocks: int = 1
    latents: int = 64
    levels: int = 13

    def __post_init__(self) -> None:
        if not 4 <= self.width <= 512 or self.width % 2 or not 0 <= self.blocks <= 16:
            raise ValueError("width must be even, 4 to 512, and blocks 0 to 16")
        if not 1 <= self.latents <= 1024 or not 1 <= self.levels <= MAX_LEVELS:
            raise ValueError(f"latents must be 1 to 1024 and levels 1 to {MAX_LEVELS}")


class FactorizedModel(RateModel):
    """Images (N, channels, height, width) to (N, latents, ceil(h/8), ceil(w/8)) integers."""

    config_class = FactorizedConfig
    synthesis_state = ("g_s.", "gain.log_inverse")
    training_state = ("prior.",)

    def __init__(self, spec: ImageSpec, config: FactorizedConfig) -> None:
        super().__init__()
        self.size = (spec.height, spec.width)
        self.latent_shape = (config.latents, -(-spec.height // STRIDE), -(-spec.width // STRIDE))
        self.levels = config.levels
        shape = (spec.channels, config.width, config.blocks, config.latents, config.levels)
        self.g_a = PyramidAnalysis(*shape)
        self.g_s = PyramidSynthesis(*shape)
        self.gain = LevelGain(config.levels, config.latents)
        self.prior = ChannelPrior(config.latents, config.levels)

    def analyse(self, x: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """g_a: y in units of the level's steps."""
        level = self._level(x, level)
        return self.gain.scale(self.g_a(x, level), level)

    def synthesise(self, y_hat: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """g_s: images in [0, 1]."""
        return self._synthesise(y_hat, self._level(y_hat, level)).clamp(0, 1)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> RateOutput:
        """Reconstruct x through rounded latents, and estimate their information."""
        y = self.analyse(x, level)
        y_hat = round_straight_through(y)
        noisy = y + torch.rand_like(y) - 0.5 if self.training else y_hat
        bits = self.prior.bits(noisy, level)
        return RateOutput(self._synthesise(y_hat, level), bits)

    def _synthesise(self, y_hat: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        x_hat = self.g_s(self.gain.unscale(y_hat, level), level)
        return x_hat[:, :, : self.size[0], : self.size[1]]  # type: ignore[no-any-return]


class ChannelPrior(nn.Module):
    """A mixture of logistics for each rate level and channel."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(levels, channels, _COMPONENTS))
        self.means = nn.Parameter(torch.tensor([-1.0, 0.0, 1.0]).expand_as(self.logits).clone())
        self.log_scales = nn.Parameter(torch.zeros(levels, channels, _COMPONENTS))

    def bits(self, y: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Information in bits (N,) of latents y (N, C, h, w) at level int64 (N,)."""
        mixture = Parameters(
            self.logits[level][:, :, None],
            self.means[level][:, :, None],
            self.log_scales[level][:, :, None].clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT),
        )
        return mixture_bits(mixture, y.float().flatten(2)).sum((1, 2))
