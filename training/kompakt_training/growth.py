"""Weights of a shallower model where a deeper one of the same widths takes them up.

Residual blocks begin as the identity, so a model with more of them starts as what the shallower one
had learned (Chen et al. 2016, "Net2Net: Accelerating Learning via Knowledge Transfer").
"""

import re
from collections.abc import Collection, Mapping

import torch

_LAYER = re.compile(r"(.+?\.)(\d+)\.(.+)")
_RESIDUAL = "body."


def deepened(
    weights: Mapping[str, torch.Tensor], own_names: Collection[str]
) -> dict[str, torch.Tensor]:
    """Weights under the names that they have in a model whose state has ``own_names``.

    In a sequence of layers, the residual blocks before, between and after the others are matched
    in order; a block that only the deeper model has is left out.
    """
    ours = {place: index for index, place in _places(own_names).items()}
    theirs = _places(weights)
    renamed = {}
    for name, weight in weights.items():
        match = _LAYER.fullmatch(name)
        if match is None:
            renamed[name] = weight
            continue
        sequence, index, rest = match.groups()
        own = ours.get(theirs[sequence, int(index)])
        if own is not None:
            renamed[f"{sequence}{own[1]}.{rest}"] = weight
    return renamed


_Layer = tuple[str, int]
"""A sequence's name and a layer's number there."""


def _places(names: Collection[str]) -> dict[_Layer, tuple[str, int, int]]:
    """Of each layer: its sequence, how many plain layers are before it, and blocks since then.

    A plain layer itself has -1 blocks.
    """
    is_residual: dict[_Layer, bool] = {}
    for name in names:
        match = _LAYER.fullmatch(name)
        if match is not None:
            is_residual[match[1], int(match[2])] = match[3].startswith(_RESIDUAL)
    places = {}
    plain, blocks, last = 0, 0, ""
    for sequence, index in sorted(is_residual):
        if sequence != last:
            plain, blocks, last = 0, 0, sequence
        if is_residual[sequence, index]:
            places[sequence, index] = sequence, plain, blocks
            blocks += 1
        else:
            places[sequence, index] = sequence, plain, -1
            plain, blocks = plain + 1, 0
    return places
