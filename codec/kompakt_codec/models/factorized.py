"""A compressive autoencoder with a fully factorized prior.

Convolutional transforms trained on rate plus weighted distortion, every channel of the latents
with a density of its own and all symbols independent (Ballé et al. 2017, "End-to-end Optimized
Image Compression"; Theis et al. 2017, "Lossy Image Compression with Compressive Autoencoders").
The density is a mixture of logistics for each channel and rate level while training; the
checkpoint has integer tables of what the symbols then are.
"""

from dataclasses import dataclass

from kompakt_codec.models._base import ImageSpec
from kompakt_codec.models._masked import ChannelPrior
from kompakt_codec.models._pyramid import PyramidConfig, PyramidModel


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorizedConfig(PyramidConfig):
    """Those of the transforms."""

    width: int = 48
    blocks: int = 1
    latents: int = 64


class FactorizedModel(PyramidModel):
    """The transforms with a density for each channel of the latents."""

    config_class = FactorizedConfig
    prior: ChannelPrior

    def __init__(self, spec: ImageSpec, config: FactorizedConfig) -> None:
        super().__init__(spec, config, lambda: ChannelPrior(config.latents, config.levels))
