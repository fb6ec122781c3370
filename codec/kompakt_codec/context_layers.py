"""The layers of the context model's network: sizes, masks, and how a checkpoint holds them.

Three matrices (out, in), whose rows and columns belong to the latents in turn: a hidden unit sees
the latents before its own, and an output the hidden units up to its own.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kompakt_codec.entropy import tensor_array
from kompakt_codec.errors import CheckpointError

MAX_LATENTS = 1024
MAX_UNITS = 64
"""Hidden ones, for each latent and layer."""
MAX_COMPONENTS = 8
"""With more, a sum of masses could leave 64 bits."""
_LAYERS = 3

Weights = Sequence[npt.NDArray[np.int16]]
"""Of each layer, (out, in)."""
Shifts = Sequence[npt.NDArray[np.int64]]
"""Of each layer, (levels, out)."""


def check_layers(latents: int, weights: Weights, shifts: Shifts) -> None:
    """Raise CheckpointError if layers do not fit each other or so many latents, or look ahead."""
    if not 1 <= latents <= MAX_LATENTS:
        raise CheckpointError(f"a context model has 1 to {MAX_LATENTS} latents, not {latents}")
    if len(weights) != _LAYERS or len(shifts) != _LAYERS:
        raise CheckpointError("a context model has three layers")
    sizes = [latents, *(len(weight) for weight in weights)]
    hidden, outputs = sizes[1], sizes[3]
    fits = sizes[2] == hidden and hidden % latents == 0 and hidden > 0
    fits = fits and outputs % (3 * latents) == 0
    fits = fits and 1 <= outputs // (3 * latents) <= MAX_COMPONENTS
    shapes = [(o, i) for i, o in pairwise(sizes)]
    if not fits or [w.shape for w in weights] != shapes:
        raise CheckpointError("the context model's layers do not fit each other")
    levels = len(shifts[0])
    if levels < 1 or [s.shape for s in shifts] != [(levels, o) for o in sizes[1:]]:
        raise CheckpointError("the context model's shifts do not fit its layers")
    masks = _masks(latents, hidden, outputs)
    for weight, mask in zip(weights, masks, strict=True):
        if weight[~mask].any():
            raise CheckpointError("the context model looks ahead")


def layers_to_tensors(latents: int, weights: Weights, shifts: Shifts) -> dict[str, torch.Tensor]:
    """What a checkpoint holds of the layers; of the weights only those that the masks leave."""
    hidden, outputs = len(weights[0]), len(weights[2])
    made = {"sizes": torch.tensor([latents, hidden, outputs], dtype=torch.int32)}
    for index, mask in enumerate(_masks(latents, hidden, outputs)):
        made[f"weight{index}"] = torch.from_numpy(weights[index][mask])
        made[f"shift{index}"] = torch.from_numpy(shifts[index])
    return made


def layers_from_tensors(tensors: Mapping[str, torch.Tensor]) -> tuple[int, Weights, Shifts]:
    """The inverse of ``layers_to_tensors``: latents, weights and shifts. Raises CheckpointError."""
    latents, hidden, outputs = whole(tensor_array(tensors, "sizes", torch.int32), 3)
    if not 1 <= latents <= min(MAX_LATENTS, hidden, outputs):
        raise CheckpointError("the context model's sizes are out of range")
    if hidden % latents or outputs % (3 * latents):
        raise CheckpointError("the context model's layers do not divide into its latents")
    if hidden > MAX_UNITS * latents or outputs > 3 * MAX_COMPONENTS * latents:
        raise CheckpointError(
            f"a latent has at most {MAX_UNITS} hidden units and {MAX_COMPONENTS} components"
        )
    kept = [tensor_array(tensors, f"weight{index}", torch.int16) for index in range(_LAYERS)]
    lengths = _mask_lengths(latents, hidden // latents, outputs // latents)
    if [weights.shape for weights in kept] != [(n,) for n in lengths]:  # before masks take memory
        raise CheckpointError("the context model's weights do not fit its masks")
    weights = []
    for mask, values in zip(_masks(latents, hidden, outputs), kept, strict=True):
        weight = np.zeros(mask.shape, np.int16)
        weight[mask] = values
        weights.append(weight)
    shifts = [tensor_array(tensors, f"shift{index}", torch.int64) for index in range(_LAYERS)]
    return latents, weights, shifts


def whole(array: npt.NDArray[Any], count: int) -> list[int]:
    """A list of so many numbers. Raises CheckpointError if it is another."""
    if array.shape != (count,):
        raise CheckpointError(f"the context model has {array.size} numbers in place of {count}")
    return [int(n) for n in array]


def _mask_lengths(latents: int, units: int, outputs: int) -> tuple[int, int, int]:
    """How many weights each layer's mask leaves, for so many units and outputs a latent."""
    before, upto = latents * (latents - 1) // 2, latents * (latents + 1) // 2
    return units * before, units * units * upto, outputs * units * upto


def _masks(latents: int, hidden: int, outputs: int) -> list[npt.NDArray[np.bool_]]:
    """Which weights of each layer (out, in) may differ from zero."""
    order = np.arange(latents)
    of_hidden, of_output = order.repeat(hidden // latents), order.repeat(outputs // latents)
    return [
        order[None] < of_hidden[:, None],
        of_hidden[None] <= of_hidden[:, None],
        of_hidden[None] <= of_output[:, None],
    ]
