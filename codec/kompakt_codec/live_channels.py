"""A hyperprior some of whose channels of latents carry nothing, and are not coded.

Training leaves many channels 0 in every image at every rate level. What sees or tells only those is
left out of the networks (docs/format.md, "Live channels").
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import torch

from kompakt_codec.entropy import LatentShape, Levels, Payloads, Symbols, tensor_array
from kompakt_codec.errors import CheckpointError, StreamError
from kompakt_codec.hyper_coder import HyperEntropy
from kompakt_codec.hyper_layers import MAX_CHANNELS, NUM_NEAR, SUM_BITS
from kompakt_codec.integer_conv import IntegerConv

if TYPE_CHECKING:
    from kompakt_codec.models import HyperPrior

Live = npt.NDArray[np.bool_]
"""Of channels (C,), which are coded."""
_TENSOR = "live"
_LEAST_LOG_SCALE = -4


class LiveEntropy:
    """``inner`` codes the live channels of latents (C, h, w); the others are 0.

    Raises CheckpointError if they do not fit each other.
    """

    def __init__(self, inner: HyperEntropy, live: Live) -> None:
        if len(live) > MAX_CHANNELS or live.sum() != inner.channels:
            raise CheckpointError("the hyperprior's layers are not for the live channels")
        self.inner, self.live = inner, live
        self.channels, self.levels, self.has_between = len(live), inner.levels, inner.has_between

    @classmethod
    def of(cls, whole: HyperEntropy, live: Live) -> Self:
        """What is left of a path for all channels; of each group the first channel stays anyhow."""
        live = live.copy()
        for start, stop in pairwise(whole.bounds):
            live[start] |= not live[start:stop].any()
        layers = {}
        for name, layer in whole.layers.items():
            outputs, inputs = _masks(name, live, whole.bounds, layer.weight.shape)
            layers[name] = IntegerConv(
                weight=layer.weight[outputs][:, inputs],
                shifts=layer.shifts[:, outputs],
                largest_input=layer.largest_input,
            )
        return cls(HyperEntropy(layers=layers, side=whole.side, lookup=whole.lookup), live)

    def restore(self, prior: "HyperPrior") -> None:
        """As ``HyperEntropy.restore``; of the channels that are not live it expects zeros."""
        layers = {}
        shapes = {name: layer.weight.shape for name, layer in prior.integer_layers(0).items()}
        if set(shapes) != set(self.inner.layers) or prior.bounds[-1] != self.channels:
            raise ValueError("the layers are those of another prior")
        for name, layer in self.inner.layers.items():
            outputs, inputs = _masks(name, self.live, prior.bounds, shapes[name])
            weight = np.zeros(shapes[name], np.int16)
            weight[np.ix_(outputs, inputs)] = layer.weight
            shifts = np.zeros((self.levels, len(outputs)), np.int64)
            if "last" in name:
                shifts[:, len(outputs) // 2 :] = _LEAST_LOG_SCALE << SUM_BITS
            shifts[:, outputs] = layer.shifts
            layers[name] = IntegerConv(
                weight=weight, shifts=shifts, largest_input=layer.largest_input
            )
        HyperEntropy(layers=layers, side=self.inner.side, lookup=self.inner.lookup).restore(prior)

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the entropy path, 32 bytes (docs/format.md, "Fingerprint")."""
        digest = hashlib.sha256(b"kompakt entropy path 8\0" + struct.pack("<I", self.channels))
        digest.update(self.live.astype(np.uint8).tobytes())
        digest.update(self.inner.fingerprint)
        return digest.digest()

    def quantise(self, latents: npt.NDArray[np.float32], levels: Levels) -> Symbols:
        """Round latents (N, C, h, w) to the nearest symbols, which may be 0 alone."""
        symbols = self.inner.quantise(latents, levels)
        symbols[:, ~self.live] = 0
        return symbols

    def encode(self, symbols: Symbols, levels: Levels) -> list[bytes]:
        """Code symbols (N, C, h, w), each image at its level, to payloads."""
        return self.inner.encode(np.compress(self.live, symbols, 1), levels)

    def decode(
        self, payloads: Payloads, levels: Levels, shape: LatentShape
    ) -> list[Symbols | StreamError]:
        """Recover symbols of ``shape`` (C, h, w) from each payload, or the error that it is."""
        coded = (self.inner.channels, *shape[1:])
        return [
            result if isinstance(result, StreamError) else self._among_zeros(result)
            for result in self.inner.decode(payloads, levels, coded)
        ]

    def _among_zeros(self, symbols: Symbols) -> Symbols:
        made = np.zeros((self.channels, *symbols.shape[1:]), np.int16)
        made[self.live] = symbols
        return made

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint holds: those of the path within, and which channels it codes."""
        return {**self.inner.tensors(), _TENSOR: torch.from_numpy(self.live.astype(np.uint8))}


def hyper_entropy_from_tensors(
    tensors: Mapping[str, torch.Tensor], *, levels: int
) -> HyperEntropy | LiveEntropy:
    """The inverse of ``tensors``, of a path of either kind. Raises CheckpointError."""
    inner = HyperEntropy.from_tensors(tensors, levels=levels)
    if _TENSOR not in tensors:
        return inner
    values = tensor_array(tensors, _TENSOR, torch.uint8)
    if values.ndim != 1 or values.max(initial=0) > 1:
        raise CheckpointError("a channel is live or not: 1 or 0")
    return LiveEntropy(inner, values.astype(np.bool_))


def _masks(name: str, live: Live, bounds: Sequence[int], shape: Sequence[int]) -> tuple[Live, Live]:
    """Which outputs and inputs of a layer with weights of ``shape`` to keep."""
    outputs, inputs = np.ones(shape[0], np.bool_), np.ones(shape[1], np.bool_)
    part, _, number = name.partition(".")
    index = int(number)
    groups = [live[start:stop] for start, stop in pairwise(bounds)]
    if name == "h_a.0":
        inputs = live
    elif part == "before":
        inputs = live[: bounds[index + 1]]
    elif part == "near":
        inputs = groups[index // NUM_NEAR]
    elif part == "last":
        outputs = np.tile(groups[index], 2)
    elif part == "near_last":
        outputs = np.tile(groups[index // NUM_NEAR], 2)
    return outputs, inputs
