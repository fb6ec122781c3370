"""Rate-distortion-trained transforms for small images, with a context model over their latents.

A convolutional encoder and decoder around a vector of rounded latents, trained on rate plus
weighted distortion (Ballé et al. 2017, "End-to-end Optimized Image Compression") with additive
noise for the rate and rounding for the decoder (Minnen & Singh 2020). An autoregressive prior
codes each latent given those before it (Mentzer et al. 2018; Minnen et al. 2018). Gains for each
rate level make one set of weights serve the whole range of rates (Cui et al. 2021).
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from kompakt_codec.models._base import ImageSpec, RateModel, RateOutput
from kompakt_codec.models._blocks import SLOPE, LevelGain, Modulation, Residual
from kompakt_codec.models._conv import feature_size, round_straight_through
from kompakt_codec.models._masked import MaskedPrior

MAX_LEVELS = 13
"""What the frame's head can name."""


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

    def __post_init__(self) -> None:
        if not 4 <= self.width <= 512 or self.width % 2 or not 0 <= self.blocks <= 16:
            raise ValueError("width must be even, 4 to 512, and blocks 0 to 16")
        if not 1 <= self.latents <= 1024 or not 1 <= self.units <= 64:
            raise ValueError("latents must be 1 to 1024 and units 1 to 64")
        if not 1 <= self.components <= 8 or not 1 <= self.levels <= MAX_LEVELS:
            raise ValueError(f"components must be 1 to 8 and levels 1 to {MAX_LEVELS}")


class ContextModel(RateModel):
    """Images (N, channels, height, width) to (N, latents, 1, 1) integers and back."""

    config_class = ContextConfig
    synthesis_state = ("g_s.", "gain.log_inverse")
    training_state = ("prior.",)

    def __init__(self, spec: ImageSpec, config: ContextConfig) -> None:
        super().__init__()
        size = (spec.height, spec.width)
        self.latent_shape = (config.latents, 1, 1)
        self.levels = config.levels
        self.g_a = _Analysis(spec.channels, size, config)
        self.g_s = _Synthesis(spec.channels, size, config)
        self.gain = LevelGain(config.levels, config.latents)
        self.prior = MaskedPrior(config.latents, config.units, config.components, config.levels)

    def analyse(self, x: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """g_a: y (N, latents, 1, 1) in units of the level's steps."""
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
        bits = self.prior.bits(y_hat.flatten(1), noisy.flatten(1), level).sum(1)
        return RateOutput(self._synthesise(y_hat, level), bits)

    def _synthesise(self, y_hat: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return self.g_s(self.gain.unscale(y_hat, level), level)  # type: ignore[no-any-return]


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
            nn.LeakyReLU(SLOPE), *(Residual(width) for _ in range(config.blocks))
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
        self.size = size
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
        h = self.inp(y.flatten(1)).view(len(y), -1, *self.quarter)
        x = self.blocks(self.modulation(h, level))
        return x[:, :, : self.size[0], : self.size[1]]  # type: ignore[no-any-return]
