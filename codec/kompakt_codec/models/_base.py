"""What every model offers, and the registry's entry type."""

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import nn

from kompakt_codec.entropy import LatentShape
from kompakt_codec.models._blocks import ON_CPU, LevelGain, straight_through

_WEIGHT_RANGE = (0.6, 1000.0)
_ONE_WEIGHT = 35.0


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


EntropyKind = Literal["tables", "context", "hyperprior", "gaussian"]


class TransformModel(nn.Module, abc.ABC):
    """A pair of transforms, g_a and g_s, around latents that are quantised to integers.

    Images x are float32 (N, channels, height, width) in [0, 1]; latents y are float32 (N, C, h, w)
    in units of which the symbols are whole numbers.
    """

    config_class: ClassVar[type]
    """The frozen dataclass of its settings, the second argument of the constructor."""
    synthesis_state: ClassVar[tuple[str, ...]] = ("g_s.",)
    """How the names of the weights begin that ``synthesise`` uses."""
    training_state: ClassVar[tuple[str, ...]] = ()
    """How the names of the weights begin that only training needs; no checkpoint holds them."""
    entropy: ClassVar[EntropyKind] = "tables"
    """What its probabilities are made of."""
    has_labels: ClassVar[bool] = False
    """Whether its levels above 0 stand for labels."""
    any_size: ClassVar[bool] = False
    """Whether it takes images of sizes that it was not trained on."""
    half_analysis: ClassVar[bool] = True
    """Whether float16 holds what its analysis makes on the way."""
    stride: ClassVar[int] = 1
    """Pixels that a latent stands for, along each side, in a model of any size."""
    reach: int = 0
    """How many latents away what a transform makes may still be seen, in a model of any size."""
    latent_shape: LatentShape
    """(C, h, w) of the smallest image that it accepts."""
    symbol_step: int = 1
    """What lies between two symbols of a latent's quantiser."""
    levels: int = 1
    """Rate levels that one set of weights serves, the coarsest first."""
    level_type: ClassVar[torch.dtype] = torch.int64
    """Of the levels that it is given; a floating one if there are levels between two."""

    def check_state(self) -> None:
        """Raise ValueError if loaded weights are finite but make no sense."""

    def latent_shape_of(self, size: tuple[int, int]) -> LatentShape:
        """The latents' shape (C, h, w) of an accepted image of this (height, width)."""
        del size
        return self.latent_shape

    @abc.abstractmethod
    def analyse(self, x: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """g_a: images x, each at its level ((N,) of level_type; None: 0), to latents y."""

    def quantise(self, y: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Latents y, each image's at its level, to the nearest symbols, of y's shape and dtype."""
        del level
        return torch.round(y)

    @abc.abstractmethod
    def synthesise(self, y_hat: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """g_s: quantised latents y_hat, each at its level, to images x_hat in [0, 1].

        A model of any size may return more rows and columns than the image had.
        """

    @staticmethod
    def _level(batch: torch.Tensor, level: torch.Tensor | None) -> torch.Tensor:
        if level is not None:
            return level
        return torch.zeros(len(batch), dtype=torch.int64, device=batch.device)


class RateOutput(NamedTuple):
    """x_hat (N, channels, height, width), not clamped to [0, 1], and bits (N,)."""

    x_hat: torch.Tensor
    bits: torch.Tensor


def distortion_weight(levels: int, level: torch.Tensor) -> torch.Tensor:
    """Lambda of rate levels, whole or between two, of so many: bits per unit of squared error.

    In even ratios from the first to the last, float32 of level's shape.
    """
    if levels == 1:
        return torch.full(level.shape, _ONE_WEIGHT, device=level.device)
    low, high = _WEIGHT_RANGE
    return low * (high / low) ** (level / (levels - 1))


def distortion_weights(levels: int) -> torch.Tensor:
    """Lambda of each whole rate level, float32."""
    return distortion_weight(levels, torch.arange(levels))


def orthonormal_gain(levels: int, channels: int) -> LevelGain:
    """Steps to start from for transforms that keep squared distances.

    A step d costs d**2 / 12 of squared error and saves log2(d) bits: they balance at
    d**2 = 6 / (lambda ln 2).
    """
    with ON_CPU:
        steps = torch.sqrt(6 / (math.log(2) * distortion_weights(levels)))
        return LevelGain(-torch.log(steps), channels)


class Prior(nn.Module, abc.ABC):
    """A density of latents at each rate level, for training."""

    @abc.abstractmethod
    def bits(self, y_hat: torch.Tensor, y: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Information in bits (N,) of latents y (N, C, h, w), whole or noisy.

        Whole latents y_hat (N, C, h, w) are what a decoder knows of them; level is int64 (N,), or
        float32 where the prior knows levels between two.
        """


class RateModel(TransformModel):
    """A model that is trained on rate plus weighted distortion, at every level at once.

    ``g_a`` and ``g_s`` take a batch and its levels; ``g_s`` may return more rows and columns than
    the image has, which are cut off.
    """

    synthesis_state = ("g_s.", "gain.log_inverse")
    training_state = ("prior.",)
    has_between: ClassVar[bool] = False
    """Whether its prior knows levels between two."""
    rate_warm_up: ClassVar[float] = 0.05
    """The part of a training over which the rate's weight rises."""

    def __init__(
        self, spec: ImageSpec, *, g_a: nn.Module, g_s: nn.Module, gain: LevelGain, prior: Prior
    ) -> None:
        super().__init__()
        self.size = None if self.any_size else (spec.height, spec.width)
        self.levels = len(gain.log_gain)
        self.g_a, self.g_s, self.gain, self.prior = g_a, g_s, gain, prior

    def analyse(self, x: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """g_a: y in units of the level's steps, or of half of them."""
        level = self._level(x, level)
        return self.symbol_step * self.gain.scale(self.g_a(x, level), level)

    def synthesise(self, y_hat: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """g_s: images in [0, 1]."""
        return self._synthesise(y_hat, self._level(y_hat, level)).clamp(0, 1)

    def forward(
        self, x: torch.Tensor, level: torch.Tensor, *, fixed_analysis: bool = False
    ) -> RateOutput:
        """Reconstruct x through quantised latents, differentiably, and estimate their information.

        In training the rate is that of noisy latents (Minnen & Singh 2020), unless the analysis is
        fixed: then nothing needs their gradient, and the rate is that of the quantised ones, as a
        stream has it (Guo et al. 2021, "Soft then Hard").
        """
        y = self.analyse(x, level)
        y = y.detach() if fixed_analysis else y
        y_hat = straight_through(y, self.quantise(y, level))
        is_noisy = self.training and not fixed_analysis
        noisy = y + self.symbol_step * (torch.rand_like(y) - 0.5) if is_noisy else y_hat
        x_hat = crop(self._synthesise(y_hat, level), x.shape[2:])
        return RateOutput(x_hat, self.prior.bits(y_hat, noisy, level))

    def _synthesise(self, y_hat: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        x_hat: torch.Tensor = self.g_s(self.gain.unscale(y_hat / self.symbol_step, level), level)
        return x_hat if self.size is None else crop(x_hat, self.size)


def crop(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """The first rows and columns of images (N, channels, height, width)."""
    return x[:, :, : size[0], : size[1]]
