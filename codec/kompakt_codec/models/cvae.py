"""A variational autoencoder conditioned on what is known of an image beside its pixels.

Both transforms see a class label (Sohn et al. 2015, "Learning Structured Output Representation
using Deep Conditional Generative Models"), so the latents need not tell it again. A label takes the
place of a rate level: level 0 is an image whose label is not known, level k one of class k - 1. In
a stream it is the mode of the frame's head, side information that costs no further byte.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from kompakt_codec.frame import MAX_LEVELS
from kompakt_codec.models._base import ImageSpec
from kompakt_codec.models._blocks import Modulation
from kompakt_codec.models._conv import ConvDecoder
from kompakt_codec.models.vae import VariationalAutoencoder


@dataclass(frozen=True, slots=True, kw_only=True)
class CVAEConfig:
    """Width of the transforms, number of latents and of classes."""

    width: int = 32
    latents: int = 24
    classes: int = 10

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 512 or not 1 <= self.latents <= 4096:
            raise ValueError("width must be 1 to 512 and latents 1 to 4096")
        if not 1 <= self.classes < MAX_LEVELS:
            raise ValueError(f"classes must be 1 to {MAX_LEVELS - 1}")


class ConditionalVAE(VariationalAutoencoder):
    """Images and labels to (N, latents, 1, 1) integers and back."""

    has_labels = True
    config_class = CVAEConfig

    def __init__(self, spec: ImageSpec, config: CVAEConfig) -> None:
        super().__init__(spec, config)
        self.levels = config.classes + 1
        self.modulation = Modulation(self.levels, 2 * config.width)
        size = (spec.height, spec.width)
        inputs = config.latents + self.levels
        self.g_s = ConvDecoder(spec.channels, config.width, inputs, size)

    def features(self, x: torch.Tensor, level: torch.Tensor | None) -> torch.Tensor:
        """What the posterior's heads see of images x, each with its label."""
        h = self.modulation(self.g_a[0](x), self._level(x, level))
        return h.flatten(1)  # type: ignore[no-any-return]

    def decoded(self, z: torch.Tensor, level: torch.Tensor | None) -> torch.Tensor:
        """Images in [0, 1] of latents z (N, latents, 1, 1), each with its label."""
        known = functional.one_hot(self._level(z, level), self.levels).to(z.dtype)
        return self.g_s(torch.cat((z, known[:, :, None, None]), 1))  # type: ignore[no-any-return]
