"""CompressAI's state dicts: which weights three of its models have, and what they are called."""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

from kompakt_training.compressai_names import FACTORIZED, MEAN
from kompakt_training.errors import TrainingError

Weights = Mapping[str, torch.Tensor]
Shape = tuple[int, ...]

FILTERS = (1, 3, 3, 3, 3, 1)
"""Widths of the density's networks, one for each channel."""
_PEDESTAL = 2.0**-36
_LEAST = {"beta": 1e-6, "gamma": 0.0}
_BUFFERS = re.compile(
    r"(entropy_bottleneck|gaussian_conditional)\.(_offset|_quantized_cdf|_cdf_length|target"
    r"|scale_table|scale_bound|(likelihood_lower_bound|lower_bound_scale)\.bound)"
    r"|g_[as]\.\d\.(beta|gamma)_reparam\.(pedestal|lower_bound\.bound)"
)
"""What CompressAI computes again, or what has a usual value."""
_OLD_NAME = re.compile(r"entropy_bottleneck\._(matri|bias|factor)(?:x|ces|es|s)?\.?(\d)")
_NEW_NAMES = {"matri": "matrices", "bias": "biases", "factor": "factors"}
_MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class CompressaiState:
    """The weights of one of ``ARCHITECTURES`` under CompressAI's present names.

    ``width`` and ``latents`` are what CompressAI calls N and M.
    """

    architecture: str
    width: int
    latents: int
    weights: Weights

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.weights[name]

    def gdn(self, layer: str, name: str) -> torch.Tensor:
        """``beta`` or ``gamma`` of a layer as it is applied: CompressAI stores roots."""
        pedestal = self._buffer(f"{layer}.{name}_reparam.pedestal", _PEDESTAL)
        usual = (_LEAST[name] + _PEDESTAL) ** 0.5
        bound = self._buffer(f"{layer}.{name}_reparam.lower_bound.bound", usual)
        return torch.maximum(self[f"{layer}.{name}"], bound) ** 2 - pedestal

    def _buffer(self, name: str, usual: float) -> torch.Tensor:
        return self.weights.get(name, torch.tensor([usual]))


def read_state(path: Path, architecture: str) -> CompressaiState:
    """Read a file that ``torch.save`` wrote: nothing in it is run.

    A state dict, or a dict that has one under "state_dict". Raises TrainingError.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as exc:
        raise TrainingError(f"{path} does not exist") from exc
    except pickle.UnpicklingError as exc:
        raise TrainingError(
            f"{path} is no state dict, or holds more than tensors and plain values, which is not "
            "loaded: save model.state_dict() alone"
        ) from exc
    except Exception as exc:  # whatever the unpickler makes of any bytes
        reason = str(exc).split("\n")[0]
        raise TrainingError(f"{path} is no file that torch.save wrote: {reason}") from exc
    try:
        return parse_state(loaded, architecture)
    except TrainingError as exc:
        raise TrainingError(f"{path}: {exc}") from exc


def parse_state(loaded: object, architecture: str) -> CompressaiState:
    """Check that every weight is there, has its shape and is finite. Raises TrainingError."""
    weights = {_present_name(key): value for key, value in _tensors(loaded).items()}
    first, last = weights.get("g_a.0.weight"), weights.get("g_a.6.weight")
    if first is None or last is None or first.ndim != 4 or last.ndim != 4:
        raise TrainingError(
            f"not the state of {architecture}: it lacks g_a.0.weight or g_a.6.weight"
        )
    width, latents = len(first), len(last)
    expected = expected_shapes(architecture, width, latents)
    if problems := _problems(weights, expected):
        raise TrainingError(f"not the state of {architecture}: {problems}")
    return CompressaiState(architecture=architecture, width=width, latents=latents, weights=weights)


def _tensors(loaded: object) -> dict[str, torch.Tensor]:
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not loaded:
        raise TrainingError("neither a state dict nor a dict with one under 'state_dict'")
    if not all(isinstance(key, str) for key in loaded):
        raise TrainingError("a state dict's keys are names")
    found = {k.removeprefix("module."): v for k, v in loaded.items() if torch.is_tensor(v)}
    if len(found) < len(loaded):
        raise TrainingError("a state dict holds tensors, and each of them once")
    return {key: value.float() for key, value in found.items()}


def _present_name(key: str) -> str:
    match = _OLD_NAME.fullmatch(key)
    if match is None:
        return key
    return f"entropy_bottleneck.{_NEW_NAMES[match[1]]}.{match[2]}"


def expected_shapes(architecture: str, width: int, latents: int) -> dict[str, Shape]:
    """The weights of a model of N = ``width`` and M = ``latents``, and their shapes."""
    has_means = architecture == MEAN
    shapes = _transforms(width, latents)
    if architecture == FACTORIZED:
        return shapes | _density(latents)
    first, second = (latents, latents * 3 // 2) if has_means else (width, width)
    outputs = 2 * latents if has_means else latents
    layers = {
        "h_a.0": ((width, latents, 3, 3), width),
        "h_a.2": ((width, width, 5, 5), width),
        "h_a.4": ((width, width, 5, 5), width),
        "h_s.0": ((width, first, 5, 5), first),  # transposed: inputs first
        "h_s.2": ((first, second, 5, 5), second),
        "h_s.4": ((outputs, second, 3, 3), outputs),
    }
    return shapes | _weights_and_biases(layers) | _density(width)


def _transforms(width: int, latents: int) -> dict[str, Shape]:
    kernel = (5, 5)
    layers: dict[str, tuple[Shape, int]] = {}
    for place, inputs, outputs in ((0, 3, width), (2, width, width), (4, width, width)):
        layers[f"g_a.{place}"] = ((outputs, inputs, *kernel), outputs)
    layers["g_a.6"] = ((latents, width, *kernel), latents)
    for place, inputs, outputs in ((0, latents, width), (2, width, width), (4, width, width)):
        layers[f"g_s.{place}"] = ((inputs, outputs, *kernel), outputs)
    layers["g_s.6"] = ((width, 3, *kernel), 3)
    shapes = _weights_and_biases(layers)
    for name in (f"{part}.{place}" for part in ("g_a", "g_s") for place in (1, 3, 5)):
        shapes |= {f"{name}.beta": (width,), f"{name}.gamma": (width, width)}
    return shapes


def _weights_and_biases(layers: Mapping[str, tuple[Shape, int]]) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for name, (weight, outputs) in layers.items():
        shapes |= {f"{name}.weight": weight, f"{name}.bias": (outputs,)}
    return shapes


def _density(channels: int) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {"entropy_bottleneck.quantiles": (channels, 1, 3)}
    for i, (inputs, outputs) in enumerate(pairwise(FILTERS)):
        shapes[f"entropy_bottleneck.matrices.{i}"] = (channels, outputs, inputs)
        shapes[f"entropy_bottleneck.biases.{i}"] = (channels, outputs, 1)
        if i < len(FILTERS) - 2:
            shapes[f"entropy_bottleneck.factors.{i}"] = (channels, outputs, 1)
    return shapes


def _problems(weights: Weights, expected: Mapping[str, Shape]) -> str:
    """What is wrong, in words; empty if nothing is."""
    found = []
    if missing := [key for key in expected if key not in weights]:
        found.append(f"it lacks {_listed(missing)}")
    if strange := [k for k in weights if k not in expected and not _BUFFERS.fullmatch(k)]:
        found.append(f"it has {_listed(strange)}, which that model has not")
    wrong = [
        f"{key} is {tuple(weights[key].shape)}, not {shape}"
        for key, shape in expected.items()
        if key in weights and tuple(weights[key].shape) != shape
    ]
    if wrong:
        found.append(_listed(wrong))
    if endless := [k for k in expected if k in weights and not weights[k].isfinite().all()]:
        found.append(f"{_listed(endless)} must hold finite numbers")
    return "; ".join(found)


def _listed(names: list[str]) -> str:
    rest = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
