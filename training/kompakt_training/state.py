"""The state of a run between two epochs, as one file that is replaced whole.

Safetensors with JSON metadata, never pickle. With the settings and the images it decides all that
follows: every epoch draws its random numbers from the seed and its own number, and the learning
rate is a function of the step.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from kompakt_codec.files import write_whole
from kompakt_training.errors import TrainingError

STATE_FILE = "training.state"
"""Not ``*.safetensors``: a run's folder may be served, and this is no checkpoint."""

_HEADER_KEY = "kompakt-training"
_SCHEMA_VERSION = 2

HistoryRow = dict[str, float]
"""One epoch's figures by their column in history.csv."""


@dataclass(kw_only=True)
class TrainingState:
    """What a run needs to go on as if it had never stopped."""

    settings: Mapping[str, str | int | float]
    epoch: int = 0
    """Epochs done."""
    best_epoch: int = 0
    best_score: float = float("inf")
    """The least validation MSE, or loss where that is rate and distortion."""
    history: list[HistoryRow] = field(default_factory=list)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    optimizer: dict[str, torch.Tensor] = field(default_factory=dict)
    """``{index}.{name}``: Adam's moments of each parameter."""
    average: dict[str, torch.Tensor] = field(default_factory=dict)
    """The running average of the weights, where the recipe has one."""


_GROUPS = ("weights", "best_weights", "optimizer", "average")
_FIELDS = ("settings", "epoch", "best_epoch", "best_score", "history")


def save_state(path: Path, state: TrainingState) -> None:
    """Write the file, whole or not at all."""
    tensors = {
        f"{group}/{key}": tensor.detach().cpu().contiguous()
        for group in _GROUPS
        for key, tensor in getattr(state, group).items()
    }
    header = {"version": _SCHEMA_VERSION, **{name: getattr(state, name) for name in _FIELDS}}
    write_whole(path, save(tensors, {_HEADER_KEY: json.dumps(header)}))


def load_state(path: Path) -> TrainingState:
    """Read the file, tensors on the CPU. Raises TrainingError if it is none or damaged."""
    if not path.is_file():
        raise TrainingError(f"{path}: no such training state")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        header: dict[str, Any] = json.loads(metadata[_HEADER_KEY])
        if header.pop("version") != _SCHEMA_VERSION:
            raise ValueError("made by another version of this software")
        groups: dict[str, Any] = {group: {} for group in _GROUPS}
        for name, tensor in tensors.items():
            group, key = name.split("/", 1)
            groups[group][key] = tensor
        return TrainingState(**header, **groups)
    except (SafetensorError, KeyError, TypeError, ValueError) as exc:
        raise TrainingError(f"{path} is not a training state ({exc})") from exc


def weights_hash(state: TrainingState) -> str:
    """SHA-256 of the best weights, hexadecimal."""
    return hash_tensors(state.best_weights)


def hash_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of tensors and their names, hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
