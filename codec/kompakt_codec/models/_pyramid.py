"""Fully convolutional transforms between images and latents at an eighth of their size.

A linear transform of 8x8 blocks, which starts as the discrete cosine transform of JPEG on
decorrelated colours, and networks that start at nothing beside it, for what the blocks have in
common. So the first step of training is a working codec, and a fine quantiser reaches any quality.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from kompakt_codec.entropy import LatentShape
from kompakt_codec.frame import MAX_LEVELS
from kompakt_codec.models._base import ImageSpec, Prior, RateModel, orthonormal_gain
from kompakt_codec.models._blocks import ON_CPU, Modulation, Residual

STRIDE = 8
_GREY_LEVEL = 0.5
_BASIS_SCALE = 10.0
"""Bases are held at so many times their size: steps of the common learning rate fit them."""
_COLOUR_DELAY = 2.2
"""How much later than brightness a colour's frequency counts, in frequencies."""
_COLOURS = {
    1: ((1.0,),),
    3: ((0.5774, 0.5774, 0.5774), (0.7071, 0.0, -0.7071), (0.4082, -0.8165, 0.4082)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PyramidConfig:
    """Width and depth of the transforms, channels of the latents, rate levels."""

    width: int
    blocks: int
    latents: int
    levels: int = MAX_LEVELS

    def __post_init__(self) -> None:
        if not 4 <= self.width <= 512 or self.width % 2 or not 0 <= self.blocks <= 16:
            raise ValueError("width must be even, 4 to 512, and blocks 0 to 16")
        if not 1 <= self.latents <= 1024 or not 1 <= self.levels <= MAX_LEVELS:
            raise ValueError(f"latents must be 1 to 1024 and levels 1 to {MAX_LEVELS}")


class PyramidModel(RateModel):
    """Images (N, channels, height, width) to (N, latents, ceil(h/8), ceil(w/8)) integers."""

    any_size = True
    level_type = torch.float32
    stride = STRIDE
    rate_warm_up = 0.001  # the transforms are a codec from the start

    def __init__(
        self, spec: ImageSpec, config: PyramidConfig, make_prior: Callable[[], Prior]
    ) -> None:
        latents, levels = config.latents, config.levels
        shape = (spec.channels, config.width, config.blocks, latents, levels)
        super().__init__(
            spec,
            g_a=PyramidAnalysis(*shape),
            g_s=PyramidSynthesis(*shape),
            gain=orthonormal_gain(levels, latents),
            prior=make_prior(),  # last: a seed draws the same weights as ever
        )
        self.latent_shape = (latents, 1, 1)
        # 3x3 convolutions: in g_s ``blocks`` for a latent, for a half and for a quarter of one, and
        # two more of the last kind; fewer in g_a.
        self.reach = math.ceil(config.blocks * 1.75 + 0.5)

    def latent_shape_of(self, size: tuple[int, int]) -> LatentShape:
        """(latents, ceil(height / 8), ceil(width / 8))."""
        return (self.latent_shape[0], -(-size[0] // STRIDE), -(-size[1] // STRIDE))


class PyramidAnalysis(nn.Module):
    """Images (N, channels, H, W) to features (N, latents, ceil(H/8), ceil(W/8))."""

    def __init__(self, channels: int, width: int, blocks: int, latents: int, levels: int) -> None:
        super().__init__()
        with ON_CPU:
            self.basis = nn.Parameter(_BASIS_SCALE * cosine_basis(channels, latents))
        self.inp = nn.Conv2d(16 * channels, width, 1)
        self.modulation = Modulation(levels, width)
        self.blocks = nn.Sequential(
            *(Residual(width) for _ in range(blocks)),
            nn.Conv2d(width, 2 * width, 2, stride=2),
            *(Residual(2 * width) for _ in range(blocks)),
            _nothing(nn.Conv2d(2 * width, latents, 1)),
        )

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Sides that are no multiple of 8 are filled by repeating the last row and column."""
        height, width = x.shape[2:]
        fill = (0, -width % STRIDE, 0, -height % STRIDE)
        x = functional.pad(x - _GREY_LEVEL, fill, mode="replicate")
        x = functional.pixel_unshuffle(x, 4)
        h = self.modulation(self.inp(x), level)
        return self._linear(x) + self.blocks(h)  # type: ignore[no-any-return]

    def _linear(self, x: torch.Tensor) -> torch.Tensor:
        """The block transform, of an image whose 4x4 pixels are channels."""
        basis = self.basis / _BASIS_SCALE
        latents, channels = basis.shape[:2]
        basis = basis.view(latents, channels, 2, 4, 2, 4).permute(0, 1, 3, 5, 2, 4)
        return functional.conv2d(x, basis.reshape(latents, 16 * channels, 2, 2), stride=2)


class PyramidSynthesis(nn.Module):
    """Features (N, latents, h, w) to images (N, channels, 8h, 8w)."""

    def __init__(self, channels: int, width: int, blocks: int, latents: int, levels: int) -> None:
        super().__init__()
        with ON_CPU:
            self.basis = nn.Parameter(_BASIS_SCALE * cosine_basis(channels, latents))
        self.inp = nn.Conv2d(latents, 2 * width, 1)
        self.modulation = Modulation(levels, 2 * width)
        self.blocks = nn.Sequential(
            *(Residual(2 * width) for _ in range(blocks)),
            nn.Conv2d(2 * width, 4 * width, 1),
            nn.PixelShuffle(2),
            *(Residual(width) for _ in range(blocks)),
            nn.Conv2d(width, 2 * width, 1),
            nn.PixelShuffle(2),
        )
        self.seen = nn.Conv2d(4 * channels, width // 2, 3, padding=1)
        self.finish = nn.Sequential(
            *(Residual(width // 2) for _ in range(blocks)),
            _nothing(nn.Conv2d(width // 2, 4 * channels, 3, padding=1)),
            nn.PixelShuffle(2),
        )

    def forward(self, y: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """The image is to be cut to its own size."""
        linear = self._linear(y)
        h = self.blocks(self.modulation(self.inp(y), level)) + self.seen(linear)
        *layers, shuffle = self.finish
        for layer in layers:
            h = layer(h)
        return shuffle(linear + h) + _GREY_LEVEL  # type: ignore[no-any-return]

    def _linear(self, y: torch.Tensor) -> torch.Tensor:
        """The inverse block transform, to an image whose 2x2 pixels are channels."""
        basis = self.basis / _BASIS_SCALE
        latents, channels = basis.shape[:2]
        basis = basis.view(latents, channels, 4, 2, 4, 2).permute(1, 3, 5, 2, 4, 0)
        blocks = functional.conv2d(y, basis.reshape(STRIDE**2 * channels, latents, 1, 1))
        return functional.pixel_shuffle(blocks, 4)


def cosine_basis(channels: int, latents: int) -> torch.Tensor:
    """The ``latents`` lowest of the orthonormal cosine transform, (latents, channels, 8, 8).

    Brightness stands before colour of the same frequency. What is over 64 * channels is zero.
    """
    n = torch.arange(STRIDE)
    wave = torch.cos(math.pi * (2 * n[None] + 1) * n[:, None] / (2 * STRIDE)) / 2
    wave[0] /= math.sqrt(2)
    order = sorted(
        (u + v + _COLOUR_DELAY * (colour > 0), colour, u, v)
        for colour in range(channels)
        for u in range(STRIDE)
        for v in range(STRIDE)
    )
    basis = torch.zeros(latents, channels, STRIDE, STRIDE)
    for index, (_, colour, u, v) in enumerate(order[:latents]):
        mix = torch.tensor(_COLOURS[channels][colour])
        basis[index] = mix[:, None, None] * wave[u][:, None] * wave[v]
    return basis


def _nothing(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer, giving zeros until it is trained."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
