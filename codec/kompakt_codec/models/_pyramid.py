"""Fully convolutional transforms between images and latents at an eighth of their size."""

import torch
from torch import nn
from torch.nn import functional

from kompakt_codec.models._blocks import SLOPE, Modulation, Residual

STRIDE = 8


class PyramidAnalysis(nn.Module):
    """Images (N, channels, H, W) to features (N, latents, ceil(H/8), ceil(W/8))."""

    def __init__(self, channels: int, width: int, blocks: int, latents: int, levels: int) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(channels, width // 2, 3, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
        )
        self.modulation = Modulation(levels, width)
        self.blocks = nn.Sequential(
            *(Residual(width) for _ in range(blocks)),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
            *(Residual(2 * width) for _ in range(blocks)),
            nn.Conv2d(2 * width, latents, 1),
        )

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Sides that are no multiple of 8 are filled by repeating the last row and column."""
        height, width = x.shape[2:]
        x = functional.pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        return self.blocks(self.modulation(self.down(x), level))  # type: ignore[no-any-return]


class PyramidSynthesis(nn.Module):
    """Features (N, latents, h, w) to images (N, channels, 8h, 8w)."""

    def __init__(self, channels: int, width: int, blocks: int, latents: int, levels: int) -> None:
        super().__init__()
        self.inp = nn.Conv2d(latents, 2 * width, 1)
        self.modulation = Modulation(levels, 2 * width)
        self.blocks = nn.Sequential(
            *(Residual(2 * width) for _ in range(blocks)),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1),
            nn.PixelShuffle(2),
            *(Residual(width) for _ in range(blocks)),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width, 2 * width, 1),
            nn.PixelShuffle(2),
            Residual(width // 2),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width // 2, 4 * channels, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def forward(self, y: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """The image is to be cut to its own size."""
        return self.blocks(self.modulation(self.inp(y), level))  # type: ignore[no-any-return]
