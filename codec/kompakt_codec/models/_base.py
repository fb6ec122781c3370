"""What every model offers, and the registry's entry type."""

import abc
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from kompakt_codec.entropy import LatentShape


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """The images that a model of one size is for."""

    height: int
    width: int
    channels: int

    def __post_init__(self) -> None:
        if not 4 <= self.height <= 512 or not 4 <= self.width <= 512:
            raise ValueError(f"height and width must be 4 to 512, not {self.height}x{self.width}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, not {self.channels}")

    def __str__(self) -> str:
        return f"{self.height}x{self.width}x{self.channels}"


class TransformModel(nn.Module, abc.ABC):
    """A pair of transforms, g_a and g_s, around latents that are rounded to integers.

    Images x are float32 (N, channels, height, width) in [0, 1]; latents y are float32 (N, C, h, w)
    in units of the quantiser's step, so that rounding y gives the symbols.
    """

    config_class: ClassVar[type]
    """The frozen dataclass of its settings, the second argument of the constructor."""
    synthesis_state: ClassVar[tuple[str, ...]] = ("g_s.",)
    """How the names of the weights begin that ``synthesise`` uses."""
    latent_shape: LatentShape

    def check_state(self) -> None:
        """Raise ValueError if loaded weights are finite but make no sense."""

    @abc.abstractmethod
    def analyse(self, x: torch.Tensor) -> torch.Tensor:
        """g_a: images x to unrounded latents y."""

    @abc.abstractmethod
    def synthesise(self, y_hat: torch.Tensor) -> torch.Tensor:
        """g_s: rounded latents y_hat to images x_hat in [0, 1]."""
