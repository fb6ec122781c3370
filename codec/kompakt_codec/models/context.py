"""Rate-distortion-trained transforms for small images, with a context model over their latents.

A convolutional encoder and decoder around a vector of quantised latents, trained on rate plus
weighted distortion (Ballé et al. 2017, "End-to-end Optimized Image Compression") with additive
noise for the rate and the quantiser for the decoder (Minnen & Singh 2020). An autoregressive prior
codes each latent given those before it (Mentzer et al. 2018; Minnen et al. 2018). Gains for each
rate level make one set of weights serve the whole range of rates (Cui et al. 2021).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kompakt_codec.frame import MAX_LEVELS
from kompakt_codec.models._base import ImageSpec, RateModel
from kompakt_codec.models._blocks import ON_CPU, SLOPE, LevelGain, Modulation, Residual
from kompakt_codec.models._conv import feature_size
from kompakt_codec.models._masked import MaskedPrior
from kompakt_codec.trellis import Quantiser

_UNBOUNDED = 1 << 13
"""Indices that training may reach: their symbols fit 16 bits."""
_GAIN_STEP = 0.15
"""Of the gains' logarithms to start from, from one level to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextConfig:
    """Width and depth of the transforms, size of the bottleneck and of its prior, rate levels."""

    width: int = 64
    blocks: int = 2
    latents: int = 48
    units: int = 8
    """Hidden units of the prior for each latent and layer."""
    components: int = 3
    """Logistics in each mixture."""
    levels: int = 13
    scalar_levels: int = MAX_LEVELS
    """So many of the levels, the coarsest, have a scalar quantiser, the others a trellis-coded one:
    where most latents are 0, a scalar one is the better."""

    def __post_init__(self) -> None:
        if not 4 <= self.width <= 512 or self.width % 2 or not 0 <= self.blocks <= 16:
            raise ValueError("width must be even, 4 to 512, and blocks 0 to 16")
        if not 1 <= self.latents <= 1024 or not 1 <= self.units <= 64:
            raise ValueError("latents must be 1 to 1024 and units 1 to 64")
        if not 1 <= self.components <= 8 or not 1 <= self.levels <= MAX_LEVELS:
            raise ValueError(f"components must be 1 to 8 and levels 1 to {MAX_LEVELS}")
        if not 0 <= self.scalar_levels <= MAX_LEVELS:
            raise ValueError(f"scalar_levels must be 0 to {MAX_LEVELS}")

    @property
    def quantiser(self) -> Quantiser:
        """That of each level."""
        return Quantiser(tuple(level >= self.scalar_levels for level in range(self.levels)))


class ContextModel(RateModel):
    """Images (N, channels, height, width) to (N, latents, 1, 1) integers and back."""

    entropy = "context"
    config_class = ContextConfig
    prior: MaskedPrior

    def __init__(self, spec: ImageSpec, config: ContextConfig) -> None:
        size = (spec.height, spec.width)
        latents, levels = config.latents, config.levels
        with ON_CPU:
            start = _GAIN_STEP * (torch.arange(levels) - levels / 2)
        super().__init__(
            spec,
            g_a=_Analysis(spec.channels, size, config),
            g_s=_Synthesis(spec.channels, size, config),
            gain=LevelGain(start, latents),
            prior=MaskedPrior(
                latents, config.units, config.components, levels, step=config.quantiser.step
            ),
        )
        self.latent_shape = (latents, 1, 1)
        self.quantiser = config.quantiser
        self.symbol_step = self.quantiser.step

    def quantise(self, y: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """See ``TransformModel``; along a trellis on the CPU."""
        if self.symbol_step == 1:
            return super().quantise(y, level)
        latents = y.detach().float().flatten(1).cpu().numpy()
        most = np.full(len(latents), _UNBOUNDED)
        symbols = self.quantiser.quantise(latents, level.tolist(), most)
        return torch.from_numpy(symbols).to(y.device, y.dtype).view_as(y)


class _Analysis(nn.Module):
    def __init__(self, channels: int, size: tuple[int, int], config: ContextConfig) -> None:
        super().__init__()
        width = config.width
        rows, columns = feature_size(size)
        self.down = nn.Sequential(
            nn.Conv2d(channels, width // 2, 3, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
        )
        self.modulation = Modulation(config.levels, width)
        self.blocks = nn.Sequential(
            nn.LeakyReLU(SLOPE), *(Residual(width) for _ in range(config.blocks + 2))
        )
        self.out = nn.Linear(width * rows * columns, config.latents)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        h = self.blocks(self.modulation(self.down(x), level))
        y = self.out(functional.leaky_relu(h, SLOPE).flatten(1))
        return y[:, :, None, None]  # type: ignore[no-any-return]


class _Synthesis(nn.Module):
    def __init__(self, channels: int, size: tuple[int, int], config: ContextConfig) -> None:
        super().__init__()
        width = config.width
        self.quarter = feature_size(size)
        self.inp = nn.Linear(config.latents, width * self.quarter[0] * self.quarter[1])
        self.modulation = Modulation(config.levels, width)
        self.blocks = nn.Sequential(
            *(Residual(width) for _ in range(config.blocks + 1)),
            nn.LeakyReLU(SLOPE),
            nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
            Residual(width // 2),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width // 2, 4 * channels, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def forward(self, y: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        h = self.inp(y.flatten(1)).unflatten(1, (-1, *self.quarter))
        return self.blocks(self.modulation(h, level))  # type: ignore[no-any-return]
