"""A hyperprior in floating point for training (docs/format.md, "Hyperprior payload", freezes it).

Side information z, itself coded by static tables, tells a mean and a scale for each latent (Ballé
et al. 2018, "Variational Image Compression with a Scale Hyperprior"; Minnen et al. 2018, the mean).
Latents come in groups of channels, and a group's means and scales see the groups before it (Minnen
& Singh 2020, "Channel-wise Autoregressive Entropy Models"). The first groups, which hold most of
the information, come in four steps each, every other row and column at a time, and a step sees its
neighbours of the steps before (He et al. 2021, "Checkerboard Context Model", here in four parts). A
decoder takes as many steps whatever the image's size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from kompakt_codec.hyper_layers import PLACES, sees_symbols
from kompakt_codec.models._base import Prior
from kompakt_codec.models._blocks import at_level, round_straight_through, shrink
from kompakt_codec.models._masked import (
    ACTIVATION_LIMIT,
    SLOPE,
    WEIGHT_LIMIT,
    ChannelPrior,
    Parameters,
    mixture_bits,
)

_Place = tuple[int, int]

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

    def __init__(
        self, channels: int, *, side: int, units: int, groups: int, levels: int, spatial: int = 0
    ) -> None:
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
        sizes = [stop - start for start, stop in pairwise(self.bounds)]
        self.last = nn.ModuleList(_last(units, size, levels) for size in sizes)
        near = [size for size in sizes[:spatial] for _ in PLACES[1:]]
        self.near = nn.ModuleList(_Layer(size, units, 3, levels) for size in near)
        self.near_mixed = nn.ModuleList(_Layer(units, units, 1, levels) for _ in near)
        self.near_last = nn.ModuleList(_last(units, size, levels) for size in near)

    def bits(self, y_hat: torch.Tensor, y: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Information in bits (N,) of y and of the side information that y_hat gives.

        Levels may lie between two.
        """
        z = self.side_information(y_hat, level)
        z_hat = round_straight_through(z)
        noisy = z + torch.rand_like(z) - 0.5 if self.training else z_hat
        total = self.side.bits(z_hat, noisy, (level + 0.5).long())  # tables have whole levels
        features = self.features(z_hat, level, y.shape[2:])
        for group, (start, stop) in enumerate(pairwise(self.bounds)):
            ours = y[:, start:stop].float()
            for place, parameters in self._group(group, features, y_hat, level):
                total = total + _logistic_bits(parameters, _at(ours, place)).sum(1)
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
    ) -> Iterator[tuple[_Place | None, torch.Tensor]]:
        """Each step's place, and means and log-scales (N, 2 * C of the group, h, w) of its latents.

        They are told by z, the groups before, and the group's own steps before.
        """
        if group:
            known = y_hat[:, : self.bounds[group]] * _INPUT_SCALE
            features = features + self.before[group - 1](known, level)
        mixed, last = self.mixed[group], self.last[group]
        if len(PLACES[1:]) * group >= len(self.near):
            yield None, last(_act(mixed(_act(features), level)), level)
            return
        ours = y_hat[:, self.bounds[group] : self.bounds[group + 1]] * _INPUT_SCALE
        known = torch.zeros_like(ours)
        for step, place in enumerate(PLACES):
            seen = _at(features, place)
            if not seen.numel():
                continue
            if step:
                index = len(PLACES[1:]) * group + step - 1
                near: _Layer = self.near[index]  # type: ignore[assignment]
                seen = seen + near.at(known, level, place)
                mixed, last = self.near_mixed[index], self.near_last[index]
            yield place, last(_act(mixed(_act(seen), level)), level)
            known = known + ours * _mask(ours, place)

    def integer_layers(self, fraction_bits: int) -> dict[str, IntegerLayer]:
        """All layers by name (``h_a.0``, …), weights in units of 2**-fraction_bits."""
        return {name: layer.integers(fraction_bits, _scale_of(name)) for name, layer in self._all()}

    @torch.no_grad()
    def take_integers(self, layers: Mapping[str, IntegerLayer], fraction_bits: int) -> None:
        """Take over what ``integer_layers`` made, as exactly as single precision tells.

        Raises ValueError if they are another prior's.
        """
        if {name for name, _ in self._all()} != set(layers):
            raise ValueError("the layers are those of another prior")
        for name, layer in self._all():
            layer.take(layers[name], 2.0**-fraction_bits / _scale_of(name))

    def _all(self) -> Iterator[tuple[str, "_Layer"]]:
        for part in ("h_a", "h_s", "before", "mixed", "last", "near", "near_mixed", "near_last"):
            for index, layer in enumerate(getattr(self, part)):
                yield f"{part}.{index}", layer


class _Layer(nn.Module):
    """A convolution with a bias for each rate level."""

    def __init__(self, inputs: int, outputs: int, kernel: int, levels: int, stride: int = 1):
        super().__init__()
        pad = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=pad, bias=False)
        self.shifts = nn.Parameter(torch.zeros(levels, outputs))

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + self._shift(level)  # type: ignore[no-any-return]

    def at(self, x: torch.Tensor, level: torch.Tensor, place: _Place) -> torch.Tensor:
        """What ``forward`` gives in every other row and column from ``place`` on, kernels of 3."""
        x = functional.pad(x, (1, 1, 1, 1))[:, :, place[0] :, place[1] :]
        sums = functional.conv2d(x, self.conv.weight, stride=2)
        return sums + self._shift(level)

    def _shift(self, level: torch.Tensor) -> torch.Tensor:
        return at_level(self.shifts, level)[:, :, None, None]

    def take(self, layer: IntegerLayer, unit: float) -> None:
        weight, shifts = torch.from_numpy(layer.weight), torch.from_numpy(layer.shifts)
        if weight.shape != self.conv.weight.shape or shifts.shape != self.shifts.shape:
            raise ValueError("the layers are those of another prior")
        self.conv.weight.copy_(weight * unit)
        self.shifts.copy_(shifts)

    def integers(self, fraction_bits: int, scale: float) -> IntegerLayer:
        weight = self.conv.weight.detach().cpu().double().numpy() * scale
        scaled = np.clip(weight, -WEIGHT_LIMIT, WEIGHT_LIMIT) * (1 << fraction_bits)
        return IntegerLayer(
            weight=np.rint(scaled).astype(np.int16),
            shifts=self.shifts.detach().cpu().double().numpy(),
        )


def _scale_of(name: str) -> float:
    """What a layer's inputs are multiplied by, folded into its whole weights."""
    return _INPUT_SCALE if sees_symbols(name) else 1.0


def _last(units: int, size: int, levels: int) -> _Layer:
    layer = _Layer(units, 2 * size, 1, levels)
    shrink(layer.conv.weight, 0.1)
    return layer


def _logistic_bits(parameters: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Bits (N, n) of latents (N, C, h, w) with means and log-scales (N, 2 * C, h, w)."""
    mean, log_scale = parameters.float().chunk(2, 1)
    log_scale = log_scale.clamp(*LOG_SCALE_RANGE)
    mixture = Parameters(*(t.flatten(1)[..., None] for t in (mean * 0, mean, log_scale)))
    return mixture_bits(mixture, y.flatten(1))


def _at(x: torch.Tensor, place: _Place | None) -> torch.Tensor:
    return x if place is None else x[:, :, place[0] :: 2, place[1] :: 2]


def _mask(x: torch.Tensor, place: _Place) -> torch.Tensor:
    """1 in every other row and column from ``place`` on, else 0, (h, w)."""
    mask = torch.zeros(x.shape[2:], dtype=x.dtype, device=x.device)
    mask[place[0] :: 2, place[1] :: 2] = 1
    return mask


def _act(x: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(x, SLOPE).clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
