"""A compressive autoencoder with a hyperprior: means and scales from side information.

Convolutional transforms trained on rate plus weighted distortion; a second, smaller pair of
transforms tells the decoder where the image is busy (Ballé et al. 2018, "Variational Image
Compression with a Scale Hyperprior"; Minnen et al. 2018 and Minnen & Singh 2020 for the rest of
the prior).
"""

from dataclasses import dataclass

from kompakt_codec.entropy import LatentShape
from kompakt_codec.frame import MAX_LEVELS
from kompakt_codec.models._base import ImageSpec, RateModel, orthonormal_gain
from kompakt_codec.models._hyper import HyperPrior
from kompakt_codec.models._pyramid import STRIDE, PyramidAnalysis, PyramidSynthesis


@dataclass(frozen=True, slots=True, kw_only=True)
class HyperpriorConfig:
    """Width and depth of the transforms, channels of the latents, the prior, rate levels."""

    width: int = 64
    blocks: int = 2
    latents: int = 192
    side: int = 32
    """Channels of the side information."""
    units: int = 96
    """Channels of the prior's networks."""
    groups: int = 4
    """Steps in which the latents' channels are coded; 1 is the mean and scale hyperprior alone."""
    levels: int = 13

    def __post_init__(self) -> None:
        if not 4 <= self.width <= 512 or self.width % 2 or not 0 <= self.blocks <= 16:
            raise ValueError("width must be even, 4 to 512, and blocks 0 to 16")
        if not 1 <= self.latents <= 1024 or not 1 <= self.levels <= MAX_LEVELS:
            raise ValueError(f"latents must be 1 to 1024 and levels 1 to {MAX_LEVELS}")
        if not 1 <= self.side <= 256 or not 1 <= self.units <= 512:
            raise ValueError("side must be 1 to 256 and units 1 to 512")
        if not 1 <= self.groups <= 8 or self.latents < 1 << self.groups:
            raise ValueError("groups must be 1 to 8, and latents at least 2**groups")


class HyperpriorModel(RateModel):
    """Images (N, channels, height, width) to (N, latents, ceil(h/8), ceil(w/8)) integers."""

    entropy = "hyperprior"
    any_size = True
    rate_warm_up = 0.001  # the transforms are a codec from the start
    config_class = HyperpriorConfig
    prior: HyperPrior

    def __init__(self, spec: ImageSpec, config: HyperpriorConfig) -> None:
        latents, levels = config.latents, config.levels
        shape = (spec.channels, config.width, config.blocks, latents, levels)
        super().__init__(
            spec,
            g_a=PyramidAnalysis(*shape),
            g_s=PyramidSynthesis(*shape),
            gain=orthonormal_gain(levels, latents),
            prior=HyperPrior(
                latents,
                side=config.side,
                units=config.units,
                groups=config.groups,
                levels=levels,
            ),
        )
        self.latent_shape = (latents, 1, 1)

    def latent_shape_of(self, size: tuple[int, int]) -> LatentShape:
        """(latents, ceil(height / 8), ceil(width / 8))."""
        return (self.latent_shape[0], -(-size[0] // STRIDE), -(-size[1] // STRIDE))
