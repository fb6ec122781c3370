"""The layers of a hyperprior's entropy path, how a checkpoint holds them, and the steps that
latents are coded in.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from kompakt_codec.entropy import Symbols, tensor_array
from kompakt_codec.errors import CheckpointError
from kompakt_codec.integer import (
    ACTIVATION_BITS,
    ACTIVATION_LIMIT,
    PARAMETER_BITS,
    WEIGHT_BITS,
    Floats,
)
from kompakt_codec.integer_conv import IntegerConv
from kompakt_codec.jit import kernel
from kompakt_codec.residual_coder import MAX_SYMBOL, Numbers
from kompakt_codec.table_coder import TableEntropy

PLACES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""The first row and column of each of a group's four steps, which take every other one."""
MAX_SIDE_CHANNELS = 256
MAX_UNITS = 512
MAX_CHANNELS = 1024
MAX_GROUPS = 8
SUM_BITS = WEIGHT_BITS + ACTIVATION_BITS
_MEAN_LIMIT = MAX_SYMBOL << PARAMETER_BITS
_SHIFT = SUM_BITS - PARAMETER_BITS
_LINE = 16
"""Numbers that a line of a cache holds: so many are written together."""
NUM_NEAR = len(PLACES) - 1
"""Layers of each kind that a group in four steps has for the steps after the first."""


class Step(NamedTuple):
    """Latents that are coded together, and the layers that tell their means and scales."""

    start: int
    stop: int
    """The channels, the last not included."""
    mixed: str
    last: str
    near: str = ""
    """Of what the group's steps before tell; empty for a group's first."""
    place: tuple[int, int] | None = None
    """The first of every other row and column, or None for all."""

    @property
    def places(self) -> tuple[slice, slice, slice]:
        """Where they are in arrays (N, h, w, ...)."""
        if self.place is None:
            return slice(None), slice(None), slice(None)
        return slice(None), slice(self.place[0], None, 2), slice(self.place[1], None, 2)

    def of(self, symbols: Symbols) -> Symbols:
        """Those of symbols (N, C, h, w)."""
        images, rows, columns = self.places
        return symbols[images, self.start : self.stop, rows, columns]


def steps_of(bounds: Sequence[int], spatial: int) -> list[list[Step]]:
    """The steps of each group of channels: four of the first ``spatial``, one of the others."""
    steps = []
    for group, (start, stop) in enumerate(pairwise(bounds)):
        first = Step(start, stop, f"mixed.{group}", f"last.{group}")
        if group >= spatial:
            steps.append([first])
            continue
        ours = [first._replace(place=PLACES[0])]
        for index, place in enumerate(PLACES[1:], start=NUM_NEAR * group):
            names = f"near_mixed.{index}", f"near_last.{index}", f"near.{index}"
            ours.append(Step(start, stop, *names, place))
        steps.append(ours)
    return steps


def sees_symbols(name: str) -> bool:
    """Whether a layer's inputs are symbols: no fractions."""
    return name in ("h_a.0", "h_s.0") or name.startswith(("before.", "near."))


def largest_input(name: str) -> int:
    """The largest that a layer's inputs can be."""
    if name == "h_s.0":
        return 1 << 15
    return MAX_SYMBOL if sees_symbols(name) else ACTIVATION_LIMIT


def layer_names(groups: int, spatial: int) -> Iterator[str]:
    """All names of layers, in the order of the fingerprint."""
    yield from ("h_a.0", "h_a.1", "h_a.2", "h_s.0", "h_s.1")
    yield from (f"before.{i}" for i in range(groups - 1))
    yield from (f"mixed.{i}" for i in range(groups))
    yield from (f"last.{i}" for i in range(groups))
    for part in ("near", "near_mixed", "near_last"):
        yield from (f"{part}.{i}" for i in range(NUM_NEAR * spatial))


def check_layers(layers: Mapping[str, IntegerConv], side: TableEntropy) -> tuple[list[int], int]:
    """Where each group of channels begins and the last ends, and how many take four steps.

    Raises CheckpointError.
    """
    groups = sum(name.startswith("last.") for name in layers)
    spatial = sum(name.startswith("near.") for name in layers) // NUM_NEAR
    if not 1 <= groups <= MAX_GROUPS or set(layers) != set(layer_names(groups, spatial)):
        raise CheckpointError("the hyperprior's layers are not those of a hyperprior")
    if spatial > groups:
        raise CheckpointError("the hyperprior has more groups in steps than groups")
    outputs = [len(layers[f"last.{i}"].weight) for i in range(groups)]
    if any(n % 2 or n < 2 for n in outputs):
        raise CheckpointError("every latent needs a mean and a scale")
    bounds = [0]
    for count in outputs:
        bounds.append(bounds[-1] + count // 2)
    units, channels, depth = len(layers["h_s.1"].weight), bounds[-1], side.shape[0]
    if not 1 <= units <= MAX_UNITS or channels > MAX_CHANNELS or depth > MAX_SIDE_CHANNELS:
        raise CheckpointError("the hyperprior's sizes are out of range")
    shapes = {
        "h_a.0": (units, channels, 3, 3),
        "h_a.1": (units, units, 2, 2),
        "h_a.2": (depth, units, 1, 1),
        "h_s.0": (4 * units, depth, 1, 1),
        "h_s.1": (units, units, 3, 3),
        **{f"before.{i}": (units, bounds[i + 1], 3, 3) for i in range(groups - 1)},
        **{f"mixed.{i}": (units, units, 1, 1) for i in range(groups)},
        **{f"last.{i}": (outputs[i], units, 1, 1) for i in range(groups)},
    }
    for i in range(NUM_NEAR * spatial):
        output = outputs[i // NUM_NEAR]
        shapes[f"near.{i}"] = (units, output // 2, 3, 3)
        shapes[f"near_mixed.{i}"] = (units, units, 1, 1)
        shapes[f"near_last.{i}"] = (output, units, 1, 1)
    if {name: layer.weight.shape for name, layer in layers.items()} != shapes:
        raise CheckpointError("the hyperprior's layers do not fit each other")
    if any(len(layer.shifts) != side.levels for layer in layers.values()):
        raise CheckpointError("every level needs its shifts")
    return bounds, spatial


def layers_to_tensors(layers: Mapping[str, IntegerConv]) -> dict[str, torch.Tensor]:
    """What a checkpoint holds of the layers."""
    made = {}
    for name, layer in layers.items():
        made[f"{name}.weight"] = torch.from_numpy(layer.weight)
        made[f"{name}.shifts"] = torch.from_numpy(layer.shifts)
    return made


def layers_from_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, IntegerConv]:
    """The inverse of ``layers_to_tensors``. Raises CheckpointError."""
    names = [key.removesuffix(".weight") for key in tensors if key.endswith(".weight")]
    return {
        name: IntegerConv(
            weight=tensor_array(tensors, f"{name}.weight", torch.int16),
            shifts=tensor_array(tensors, f"{name}.shifts", torch.int64),
            largest_input=largest_input(name),
        )
        for name in names
    }


@kernel
def split_parameters(sums: Floats, means: Numbers, scales: Numbers) -> None:
    """Rounded sums (N, h * w, 2 C) to means and log-scales (N, C * h * w)."""
    count, channels = sums.shape[1], sums.shape[2] // 2
    half, factor = 0.5 * (1 << _SHIFT), 1.0 / (1 << _SHIFT)
    for i in range(len(sums)):
        for first in range(0, count, _LINE):
            last = min(first + _LINE, count)
            for c in range(2 * channels):
                made = means[i] if c < channels else scales[i]
                start = (c if c < channels else c - channels) * count
                for k in range(first, last):
                    value = np.floor((sums[i, k, c] + half) * factor)
                    made[start + k] = np.int32(min(max(value, -_MEAN_LIMIT), _MEAN_LIMIT))
