"""A hyperprior in floating point for training (docs/format.md, "Hyperprior payload", freezes it).

Side information z, itself coded by static tables, tells a mean and a scale for each latent (Ballé
et al. 2018, "Variational Image Compression with a Scale Hyperprior"; Minnen et al. 2018, the mean).
Latents come in groups of channels, and a group's means and scales see the groups before it (Minnen
& Singh 2020, "Channel-wise Autoregressive Entropy Models"): a decoder takes as many steps as there
are groups, whatever the image's size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from kompakt_codec.models._base import Prior
from kompakt_codec.models._blocks import round_straight_through
from kompakt_codec.models._masked import (
    ACTIVATION_LIMIT,
    SLOPE,
    WEIGHT_LIMIT,
    ChannelPrior,
    Parameters,
    mixture_bits,
)

LOG_SCALE_RANGE = (-4.0, 4.0)
Z_STRIDE = 2
_INPUT_SCALE = 0.25
"""Of whole numbers where they enter a network."""


def group_bounds(channels: int, groups: int) -> list[int]:
    """Where each group of channels begins, and the last ends: each twice as long as that before."""
    whole = (1 << groups) - 1
    return [round(channels * ((1 << i) - 1) / whole) for i in range(groups + 1)]


@dataclass(frozen=True, kw_only=True)
class IntegerLayer:
    """A layer's weights (out, in, k, k) in units of 2**-12, and shifts (levels, out) with the bias.

    What a layer does to whole numbers has the division by 4 folded in.
    """

    weight: npt.NDArray[np.int16]
    shifts: npt.NDArray[np.float64]


class HyperPrior(Prior):
    """P(z | level) P(y_hat | z, level), latents (N, channels, h, w) and z at half their size."""

    def __init__(self, channels: int, *, side: int, units: int, groups: int, levels: int) -> None:
        super().__init__()
        self.bounds = group_bounds(channels, groups)
        self.levels, self.side_channels = levels, side
        self.h_a = nn.ModuleList(
            (
                _Layer(channels, units, 3, levels),
                _Layer(units, units, Z_STRIDE, levels, stride=Z_STRIDE),
                _Layer(units, side, 1, levels),
            )
        )
        self.side = ChannelPrior(side, levels)
        self.h_s = nn.ModuleList(
            (_Layer(side, units * Z_STRIDE**2, 1, levels), _Layer(units, units, 3, levels))
        )
        self.before = nn.ModuleList(_Layer(start, units, 3, levels) for start in self.bounds[1:-1])
        self.mixed = nn.ModuleList(_Layer(units, units, 1, levels) for _ in range(groups))
        sizes = (b - a for a, b in zip(self.bounds, self.bounds[1:], strict=False))
        last = [_Layer(units, 2 * size, 1, levels) for size in sizes]
        with torch.no_grad():
            for layer in last:
                layer.conv.weight.mul_(0.1)
        self.last = nn.ModuleList(last)

    def bits(self, y_hat: torch.Tensor, y: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Information in bits (N,) of y and of the side information that y_hat gives."""
        z = self.side_information(y_hat, level)
        z_hat = round_straight_through(z)
        noisy = z + torch.rand_like(z) - 0.5 if self.training else z_hat
        total = self.side.bits(z_hat, noisy, level)
        features = self.features(z_hat, level, y.shape[2:])
        for group, (start, stop) in enumerate(zip(self.bounds, self.bounds[1:], strict=False)):
            mean, log_scale = self._group(group, features, y_hat, level)
            mixture = Parameters(*(t.flatten(1)[..., None] for t in (mean * 0, mean, log_scale)))
            total = total + mixture_bits(mixture, y[:, start:stop].float().flatten(1)).sum(1)
        return total

    def side_information(self, y_hat: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """h_a: whole latents to z (N, side, ceil(h/2), ceil(w/2)), before it is rounded."""
        first, second, last = self.h_a
        h = _act(first(y_hat * _INPUT_SCALE, level))
        h = functional.pad(h, (0, h.shape[3] % Z_STRIDE, 0, h.shape[2] % Z_STRIDE))
        return last(_act(second(h, level)), level)  # type: ignore[no-any-return]

    def features(
        self, z_hat: torch.Tensor, level: torch.Tensor, size: Sequence[int]
    ) -> torch.Tensor:
        """h_s: whole z to what it tells of latents of ``size`` (h, w)."""
        first, second = self.h_s
        h = functional.pixel_shuffle(first(z_hat * _INPUT_SCALE, level), Z_STRIDE)
        return second(_act(h[:, :, : size[0], : size[1]]), level)  # type: ignore[no-any-return]

    def _group(
        self, group: int, features: torch.Tensor, y_hat: torch.Tensor, level: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log-scale of each of the group's latents, from z and the groups before."""
        if group:
            known = y_hat[:, : self.bounds[group]] * _INPUT_SCALE
            features = features + self.before[group - 1](known, level)
        h = _act(self.mixed[group](_act(features), level))
        mean, log_scale = self.last[group](h, level).float().chunk(2, 1)
        return mean, log_scale.clamp(*LOG_SCALE_RANGE)

    def integer_layers(self, fraction_bits: int) -> dict[str, IntegerLayer]:
        """All layers by name (``h_a.0``, …), weights in units of 2**-fraction_bits."""
        whole = ("h_a.0", "h_s.0", "before.")
        made = {}
        for part in ("h_a", "h_s", "before", "mixed", "last"):
            for index, layer in enumerate(getattr(self, part)):
                name = f"{part}.{index}"
                scale = _INPUT_SCALE if name.startswith(whole) else 1.0
                made[name] = layer.integers(fraction_bits, scale)
        return made


class _Layer(nn.Module):
    """A convolution with a bias for each rate level."""

    def __init__(self, inputs: int, outputs: int, kernel: int, levels: int, stride: int = 1):
        super().__init__()
        pad = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=pad, bias=False)
        self.shifts = nn.Parameter(torch.zeros(levels, outputs))

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + self.shifts[level][:, :, None, None]  # type: ignore[no-any-return]

    def integers(self, fraction_bits: int, scale: float) -> IntegerLayer:
        weight = self.conv.weight.detach().cpu().double().numpy() * scale
        scaled = np.clip(weight, -WEIGHT_LIMIT, WEIGHT_LIMIT) * (1 << fraction_bits)
        return IntegerLayer(
            weight=np.rint(scaled).astype(np.int16),
            shifts=self.shifts.detach().cpu().double().numpy(),
        )


def _act(x: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(x, SLOPE).clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
