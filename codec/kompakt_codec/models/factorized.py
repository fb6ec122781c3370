"""A compressive autoencoder with a fully factorized prior.

Convolutional transforms trained on rate plus weighted distortion, every channel of the latents
with a density of its own and all symbols independent (Ballé et al. 2017, "End-to-end Optimized
Image Compression"; Theis et al. 2017, "Lossy Image Compression with Compressive Autoencoders").
The density is a mixture of logistics for each channel and rate level while training; the
checkpoint has integer tables of what the symbols then are.
"""

from dataclasses import dataclass

from kompakt_codec.entropy import LatentShape
from kompakt_codec.frame import MAX_LEVELS
from kompakt_codec.models._base import ImageSpec, RateModel, orthonormal_gain
from kompakt_codec.models._masked import ChannelPrior
from kompakt_codec.models._pyramid import STRIDE, PyramidAnalysis, PyramidSynthesis


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

    any_size = True
    rate_warm_up = 0.001  # the transforms are a codec from the start
    config_class = FactorizedConfig

    def __init__(self, spec: ImageSpec, config: FactorizedConfig) -> None:
        latents, levels = config.latents, config.levels
        shape = (spec.channels, config.width, config.blocks, latents, levels)
        super().__init__(
            spec,
            g_a=PyramidAnalysis(*shape),
            g_s=PyramidSynthesis(*shape),
            gain=orthonormal_gain(levels, latents),
            prior=ChannelPrior(latents, levels),
        )
        self.latent_shape = (latents, 1, 1)

    def latent_shape_of(self, size: tuple[int, int]) -> LatentShape:
        """(latents, ceil(height / 8), ceil(width / 8))."""
        return (self.latent_shape[0], -(-size[0] // STRIDE), -(-size[1] // STRIDE))
