"""Priors over latents, in floating point for training (docs/format.md freezes them).

A masked network (Germain et al. 2015, "MADE") gives each latent a mixture of logistics from those
coded before it, as the conditional probability models of Mentzer et al. 2018 and Minnen et al. 2018
do with masked convolutions. Its hidden units come in groups, one for each latent, so that a decoder
computes each unit once.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from kompakt_codec.models._base import Prior
from kompakt_codec.models._blocks import ON_CPU, shrink

SLOPE = 0.125
"""Of the leaky rectifiers: a power of two, exact in integers."""
ACTIVATION_LIMIT = 64.0
LOG_SCALE_LIMIT = 4.0
WEIGHT_LIMIT = 7.99
_INPUT_DIVISOR = 4
"""Of the latents in steps, for the network."""
_LEAST_PROBABILITY = 2.0**-24
_COMPONENTS = 3
_LEAST_DEVIATION = 0.1


class Parameters(NamedTuple):
    """A mixture for each latent: logits, means and log-scales, each (N, latents, components)."""

    logits: torch.Tensor
    means: torch.Tensor
    log_scales: torch.Tensor


class MaskedPrior(Prior):
    """P(y_hat | level), a product over the latents of mixtures given all latents before each."""

    def __init__(
        self, latents: int, units: int, components: int, levels: int, *, step: int = 1
    ) -> None:
        """``step`` is what lies between two symbols of a latent's quantiser."""
        super().__init__()
        self.latents, self.units, self.components, self.levels = latents, units, components, levels
        self.step = step
        outputs = 3 * components
        self.first = _MaskedLinear(latents, 1, units, itself=False)
        self.second = _MaskedLinear(latents, units, units, itself=True)
        self.last = _MaskedLinear(latents, units, outputs, itself=True)
        self.shifts = nn.ParameterList(
            torch.zeros(levels, latents * count) for count in (units, units, outputs)
        )
        shrink(self.last.weight, 0.1)
        with torch.no_grad(), ON_CPU:
            means = self.last.bias.zero_().view(latents, components, 3)[:, :, 1]
            means.copy_(torch.linspace(-2, 2, components) if components > 1 else torch.zeros(1))

    @classmethod
    def from_integers(
        cls,
        weights: Sequence[npt.NDArray[np.int16]],
        shifts: Sequence[npt.NDArray[np.int64]],
        *,
        latents: int,
        step: int,
        weight_bits: int,
        sum_bits: int,
    ) -> Self:
        """What ``integer_layers`` was made of, as exactly as single precision tells.

        Weights are in units of 2**-weight_bits, shifts of the first layer too, of the others of
        2**-sum_bits.
        """
        hidden, outputs = len(weights[0]), len(weights[2])
        with torch.random.fork_rng(devices=[]):  # fresh weights are drawn, and not used
            prior = cls(
                latents, hidden // latents, outputs // (3 * latents), len(shifts[0]), step=step
            )
        prior.requires_grad_(False)
        scales = (2.0**-weight_bits, 2.0**-sum_bits, 2.0**-sum_bits)
        layers = zip((prior.first, prior.second, prior.last), prior.shifts, strict=True)
        for index, (layer, shift) in enumerate(layers):
            factor = _INPUT_DIVISOR * step if index == 0 else 1
            layer.weight.copy_(torch.from_numpy(weights[index] * (factor * 2.0**-weight_bits)))
            layer.bias.zero_()
            shift.copy_(torch.from_numpy(shifts[index] * scales[index]))
        return prior

    def parameters_of(self, y_hat: torch.Tensor, level: torch.Tensor) -> Parameters:
        """Mixtures, in steps, given symbols y_hat (N, latents) at level int64 (N,)."""
        h = y_hat / (_INPUT_DIVISOR * self.step)
        for layer, shift in ((self.first, self.shifts[0]), (self.second, self.shifts[1])):
            h = functional.leaky_relu(layer(h) + shift[level], SLOPE)
            h = h.clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        out = (self.last(h) + self.shifts[2][level]).float()
        logits, means, log_scales = out.view(len(y_hat), self.latents, self.components, 3).unbind(3)
        return Parameters(logits, means, log_scales.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT))

    def bits(self, y_hat: torch.Tensor, y: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Information in bits (N,) of y (N, latents, 1, 1), each latent after those before it."""
        mixture = self.parameters_of(y_hat.flatten(1), level)
        return mixture_bits(mixture, y.float().flatten(1) / self.step).sum(1)

    def integer_layers(
        self, fraction_bits: int
    ) -> list[tuple[npt.NDArray[np.int16], npt.NDArray[np.float64]]]:
        """Weights (out, in) in units of 2**-fraction_bits, and shifts (levels, out) with the bias.

        The division of the input is folded into the first layer.
        """
        made = []
        for index, (layer, shift) in enumerate(
            zip((self.first, self.second, self.last), self.shifts, strict=True)
        ):
            weight = (layer.weight * layer.mask).detach().cpu().double().numpy()
            weight = weight / (_INPUT_DIVISOR * self.step) if index == 0 else weight
            scaled = np.clip(weight, -WEIGHT_LIMIT, WEIGHT_LIMIT) * (1 << fraction_bits)
            shifts = (shift + layer.bias).detach().cpu().double().numpy()
            made.append((np.rint(scaled).astype(np.int16), shifts))
        return made


class ChannelPrior(Prior):
    """A mixture of logistics for each rate level and channel."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        with ON_CPU:
            means = torch.tensor([-1.0, 0.0, 1.0]).repeat(levels, channels, 1)
        self.logits = nn.Parameter(torch.zeros(levels, channels, _COMPONENTS))
        self.means = nn.Parameter(means)
        self.log_scales = nn.Parameter(torch.zeros(levels, channels, _COMPONENTS))

    @torch.no_grad()
    def take_moments(self, means: torch.Tensor, deviations: torch.Tensor) -> None:
        """Become mixtures with these means and standard deviations (levels, channels).

        Deviations of less than a tenth become that, so that no symbol is out of reach.
        """
        deviations = deviations.clamp(min=_LEAST_DEVIATION)[..., None]
        spread = torch.tensor([-1.0, 0.0, 1.0])
        self.logits.copy_(torch.log(2 - spread.abs()).expand_as(self.logits))
        self.means.copy_(means[..., None] + spread * deviations)
        # A half of the variance is the means'; a logistic's own is its scale's square, times this.
        self.log_scales.copy_(torch.log(deviations * math.sqrt(0.5 / (math.pi**2 / 3))))

    def bits(self, y_hat: torch.Tensor, y: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Information in bits (N,) of latents y (N, C, h, w), each independent of all others."""
        del y_hat
        mixture = Parameters(
            self.logits[level][:, :, None],
            self.means[level][:, :, None],
            self.log_scales[level][:, :, None].clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT),
        )
        return mixture_bits(mixture, y.float().flatten(2)).sum((1, 2))


def mixture_bits(mixture: Parameters, y: torch.Tensor) -> torch.Tensor:
    """-log2 of the mass that mixtures (N, n, K) give to the unit intervals around y (N, n)."""
    distance = -(y[..., None] - mixture.means).abs()
    inverse = torch.exp(-mixture.log_scales)
    # Both arguments negative or nearly so: no difference of numbers close to 1.
    mass = torch.sigmoid((distance + 0.5) * inverse) - torch.sigmoid((distance - 0.5) * inverse)
    probability = (torch.softmax(mixture.logits, -1) * mass).sum(-1)
    return -torch.log2(probability.clamp(min=_LEAST_PROBABILITY))


class _MaskedLinear(nn.Linear):
    """So many inputs and outputs for each latent.

    A latent's outputs see the inputs of those before it, and with ``itself`` its own.
    """

    mask: torch.Tensor

    def __init__(self, latents: int, inputs: int, outputs: int, *, itself: bool) -> None:
        super().__init__(latents * inputs, latents * outputs)
        with ON_CPU:
            seen = torch.ones(latents, latents).tril(0 if itself else -1)
            scale = seen.mean(1, keepdim=True).sqrt().clamp(min=0.1)  # as many inputs as are seen
        if not self.weight.is_meta:
            self.weight.data.div_(scale.repeat_interleave(outputs, 0))
        seen = seen.to(self.weight.device)
        mask = seen.repeat_interleave(outputs, 0).repeat_interleave(inputs, 1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.weight * self.mask, self.bias)
