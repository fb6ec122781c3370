"""A compressive autoencoder with a hyperprior: means and scales from side information.

Convolutional transforms trained on rate plus weighted distortion; a second, smaller pair of
transforms tells the decoder where the image is busy (Ballé et al. 2018, "Variational Image
Compression with a Scale Hyperprior"; Minnen et al. 2018 and Minnen & Singh 2020 for the rest of
the prior).
"""

from dataclasses import dataclass

from kompakt_codec.models._base import ImageSpec
from kompakt_codec.models._hyper import HyperPrior
from kompakt_codec.models._pyramid import PyramidConfig, PyramidModel


@dataclass(frozen=True, slots=True, kw_only=True)
class HyperpriorConfig(PyramidConfig):
    """Those of the transforms, and of the prior."""

    width: int = 64
    blocks: int = 2
    latents: int = 192
    side: int = 32
    """Channels of the side information."""
    units: int = 96
    """Channels of the prior's networks."""
    groups: int = 4
    """Steps in which the latents' channels are coded; 1 is the mean and scale hyperprior alone."""
    spatial: int = 0
    """How many of the first groups are coded in four steps, each seeing its neighbours of those
    before."""

    def __post_init__(self) -> None:
        PyramidConfig.__post_init__(self)
        if not 1 <= self.side <= 256 or not 1 <= self.units <= 512:
            raise ValueError("side must be 1 to 256 and units 1 to 512")
        if not 0 <= self.spatial <= self.groups:
            raise ValueError("spatial must be 0 to groups")
        if not 1 <= self.groups <= 8 or self.latents < 1 << self.groups:
            raise ValueError("groups must be 1 to 8, and latents at least 2**groups")


class HyperpriorModel(PyramidModel):
    """The transforms with side information and channels in groups."""

    entropy = "hyperprior"
    has_between = True
    config_class = HyperpriorConfig
    prior: HyperPrior

    def __init__(self, spec: ImageSpec, config: HyperpriorConfig) -> None:
        super().__init__(
            spec,
            config,
            lambda: HyperPrior(
                config.latents,
                side=config.side,
                units=config.units,
                groups=config.groups,
                levels=config.levels,
                spatial=config.spatial,
            ),
        )
