"""The entropy path of the context model: a masked integer network over vectors of latents.

``ContextEntropy`` codes each latent with frequencies that exact integers choose from those before
it (docs/format.md, "Context payload"). All images of a batch go in step, latent by latent.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import constriction
import numpy as np
import numpy.typing as npt
import torch

from kompakt_codec.entropy import (
    LatentShape,
    Payloads,
    Symbols,
    open_payload,
    terminate,
)
from kompakt_codec.errors import CheckpointError, CorruptStreamError, StreamError
from kompakt_codec.integer import (
    ACTIVATION_BITS,
    ACTIVATION_LIMIT,
    PARAMETER_BITS,
    WEIGHT_BITS,
    Floats,
    Integers,
    Lookup,
    check_exact,
    rectify,
    round_shift,
)

if TYPE_CHECKING:
    from kompakt_codec.models import MaskedPrior

MAX_SYMBOL = 127
_LAYERS = 3
MAX_LATENTS = 1024
_KINDS = {
    "latents": torch.int32,
    "sizes": torch.int32,
    "exp": torch.int32,
    "sigmoid": torch.int32,
    **{f"weight{i}": torch.int16 for i in range(_LAYERS)},
    **{f"shift{i}": torch.int64 for i in range(_LAYERS)},
}
_FAMILY = constriction.stream.model.Categorical(perfect=False)


@dataclass(frozen=True, kw_only=True)
class _Layer:
    weight: Floats
    """(out, in): whole numbers in units of 2**-12."""
    shifts: Floats
    """(levels, out): whole numbers in the units of the sums."""


class ContextEntropy:
    """Codes vectors of ``latents`` symbols from -max_symbol to max_symbol.

    ``weights`` are three int16 matrices (out, in), in which what the masks forbid is zero;
    ``shifts`` three int64 matrices (levels, out). Raises CheckpointError if they do not fit.
    """

    def __init__(
        self,
        *,
        latents: int,
        max_symbol: int,
        weights: Sequence[npt.NDArray[np.int16]],
        shifts: Sequence[npt.NDArray[np.int64]],
        lookup: Lookup,
    ) -> None:
        self.latents, self.max_symbol, self.lookup = latents, max_symbol, lookup
        self.weights, self.shifts = list(weights), list(shifts)
        self.shape: LatentShape = (latents, 1, 1)
        self._check()
        self.levels = self.shifts[0].shape[0]
        self.units = self.weights[0].shape[0] // latents
        self.components = self.weights[2].shape[0] // (3 * latents)
        self._length = 2 * max_symbol + 1
        self._max_payload = 8 + 3 * latents
        self._layers = [
            _Layer(weight=w.astype(np.float64), shifts=s.astype(np.float64))
            for w, s in zip(self.weights, self.shifts, strict=True)
        ]
        inputs = (float(max_symbol), float(ACTIVATION_LIMIT), float(ACTIVATION_LIMIT))
        for layer, largest in zip(self._layers, inputs, strict=True):
            check_exact(layer.weight, layer.shifts, largest)

    @classmethod
    def freeze(cls, prior: "MaskedPrior", *, max_symbol: int) -> Self:
        """The integers of a trained prior, for symbols from -max_symbol to max_symbol."""
        layers = prior.integer_layers(WEIGHT_BITS)
        scales = (1 << WEIGHT_BITS, *[1 << (WEIGHT_BITS + ACTIVATION_BITS)] * 2)
        return cls(
            latents=prior.latents,
            max_symbol=max_symbol,
            weights=[weight for weight, _ in layers],
            shifts=[
                np.rint(shift * scale).astype(np.int64)
                for (_, shift), scale in zip(layers, scales, strict=True)
            ],
            lookup=Lookup.make(),
        )

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the entropy path, 32 bytes (docs/format.md, "Fingerprint")."""
        digest = hashlib.sha256(b"kompakt entropy path 2\0")
        digest.update(struct.pack("<2I", self.latents, self.max_symbol))
        for weight, shifts in zip(self.weights, self.shifts, strict=True):
            digest.update(struct.pack("<3I", *weight.shape, len(shifts)))
            digest.update(weight.astype("<i2").tobytes())
            digest.update(shifts.astype("<i8").tobytes())
        digest.update(self.lookup.exp.astype("<i4").tobytes())
        digest.update(self.lookup.sigmoid.astype("<i4").tobytes())
        return digest.digest()

    def clip(self, latents: npt.NDArray[np.float32], levels: Sequence[int]) -> Symbols:
        """Round latents (N, C, 1, 1) to the nearest symbols."""
        del levels
        bound = self.max_symbol
        return np.clip(np.rint(latents), -bound, bound).astype(np.int16)

    def encode(self, symbols: Symbols, levels: Sequence[int]) -> list[bytes]:
        """Code symbols (N, C, 1, 1), each image at its level, to payloads."""
        rows = symbols.reshape(len(symbols), self.latents)
        parameters = self._all_parameters(rows, np.asarray(levels))
        payloads = []
        for row, mixtures in zip(rows, parameters, strict=True):
            weights = self.lookup.mixture_weights(mixtures, -self.max_symbol, self._length)
            encoder = constriction.stream.queue.RangeEncoder()
            encoder.encode(row.astype(np.int32) + self.max_symbol, _FAMILY, weights)
            payloads.append(terminate(encoder))
        return payloads

    def decode(self, payloads: Payloads, levels: Sequence[int]) -> list[Symbols | StreamError]:
        """Recover symbols (C, 1, 1) from each payload, or the error that it is."""
        opened = [open_payload(payload, self._max_payload) for payload in payloads]
        sound = [i for i, item in enumerate(opened) if not isinstance(item, StreamError)]
        results: list[Symbols | StreamError] = [
            item if isinstance(item, StreamError) else CorruptStreamError("") for item in opened
        ]
        if sound:
            decoders = [opened[i] for i in sound]
            decoded = self._decode_in_step(decoders, np.asarray(levels)[sound])
            for i, item in zip(sound, decoded, strict=True):
                results[i] = item
        return results

    def _all_parameters(self, rows: Symbols, levels: npt.NDArray[np.int64]) -> Integers:
        """Mixtures (N, latents, components, 3) of whole vectors of symbols."""
        h = rows.astype(np.float64)
        drop = (WEIGHT_BITS - ACTIVATION_BITS, WEIGHT_BITS)
        for layer, bits in zip(self._layers[:2], drop, strict=True):
            h = rectify(round_shift(h @ layer.weight.T + layer.shifts[levels], bits))
        return self._mixtures(h @ self._layers[2].weight.T + self._layers[2].shifts[levels])

    def _mixtures(self, sums: Floats) -> Integers:
        bits = WEIGHT_BITS + ACTIVATION_BITS - PARAMETER_BITS
        values = round_shift(sums, bits).astype(np.int64)
        return values.reshape(len(sums), -1, self.components, 3)

    def _decode_in_step(
        self,
        decoders: Sequence[constriction.stream.queue.RangeDecoder],
        levels: npt.NDArray[np.int64],
    ) -> list[Symbols | StreamError]:
        count, units, outputs = len(decoders), self.units, 3 * self.components
        y = np.zeros((count, self.latents))
        hidden = [np.zeros((count, self.latents * units)) for _ in range(2)]
        first, second, last = self._layers
        failed: set[int] = set()
        for i in range(self.latents):
            group, upto = slice(i * units, (i + 1) * units), (i + 1) * units
            out = slice(i * outputs, (i + 1) * outputs)
            sums = y[:, :i] @ first.weight[group, :i].T + first.shifts[levels, group]
            hidden[0][:, group] = rectify(round_shift(sums, WEIGHT_BITS - ACTIVATION_BITS))
            sums = hidden[0][:, :upto] @ second.weight[group, :upto].T
            sums += second.shifts[levels, group]
            hidden[1][:, group] = rectify(round_shift(sums, WEIGHT_BITS))
            sums = hidden[1][:, :upto] @ last.weight[out, :upto].T + last.shifts[levels, out]
            y[:, i] = self._decode_one(decoders, self._mixtures(sums)[:, 0], failed)
        vectors = y.astype(np.int16).reshape(count, *self.shape)
        wrong = "no symbols lead to this payload"
        return [CorruptStreamError(wrong) if k in failed else vectors[k] for k in range(count)]

    def _decode_one(
        self,
        decoders: Sequence[constriction.stream.queue.RangeDecoder],
        mixtures: Integers,
        failed: set[int],
    ) -> npt.NDArray[np.float64]:
        """One symbol of each stream; those that hold none are noted and get 0."""
        weights = self.lookup.mixture_weights(mixtures, -self.max_symbol, self._length)
        symbols = np.zeros(len(decoders))
        model = constriction.stream.model.Categorical
        for k, (decoder, row) in enumerate(zip(decoders, weights, strict=True)):
            if k in failed:
                continue
            try:
                symbols[k] = decoder.decode(model(row, perfect=False)) - self.max_symbol
            except AssertionError:  # constriction's word for a number outside every symbol
                failed.add(k)
        return symbols

    def _check(self) -> None:
        if not 1 <= self.latents <= MAX_LATENTS or not 1 <= self.max_symbol <= MAX_SYMBOL:
            raise CheckpointError("the context model's latents or symbols are out of range")
        if len(self.weights) != _LAYERS or len(self.shifts) != _LAYERS:
            raise CheckpointError("a context model has three layers")
        sizes = [self.latents, *(len(weight) for weight in self.weights)]
        hidden, outputs = sizes[1], sizes[3]
        fits = sizes[2] == hidden and hidden % self.latents == 0 and hidden > 0
        fits = fits and outputs % (3 * self.latents) == 0 and outputs > 0
        shapes = [(o, i) for i, o in pairwise(sizes)]
        if not fits or [w.shape for w in self.weights] != shapes:
            raise CheckpointError("the context model's layers do not fit each other")
        levels = len(self.shifts[0])
        if levels < 1 or [s.shape for s in self.shifts] != [(levels, o) for o in sizes[1:]]:
            raise CheckpointError("the context model's shifts do not fit its layers")
        masks = _masks(self.latents, hidden, outputs)
        for weight, mask in zip(self.weights, masks, strict=True):
            if weight[~mask].any():
                raise CheckpointError("the context model looks ahead")

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint holds; of the weights only those that the masks leave."""
        made = {
            "latents": torch.tensor([self.latents, self.max_symbol], dtype=torch.int32),
            "sizes": torch.tensor([len(self.weights[0]), len(self.weights[2])], dtype=torch.int32),
            "exp": torch.from_numpy(self.lookup.exp),
            "sigmoid": torch.from_numpy(self.lookup.sigmoid),
        }
        for index, mask in enumerate(
            _masks(self.latents, len(self.weights[0]), len(self.weights[2]))
        ):
            made[f"weight{index}"] = torch.from_numpy(self.weights[index][mask])
            made[f"shift{index}"] = torch.from_numpy(self.shifts[index])
        return made

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> Self:
        """The inverse of ``tensors``. Raises CheckpointError."""
        arrays = {key: _array(tensors, key, kind) for key, kind in _KINDS.items()}
        latents, max_symbol = _whole(arrays["latents"], 2)
        hidden, outputs = _whole(arrays["sizes"], 2)
        if not 1 <= latents <= min(MAX_LATENTS, hidden, outputs):
            raise CheckpointError("the context model's sizes are out of range")
        for index, size in enumerate((hidden, hidden, outputs)):  # before memory for the masks
            if arrays[f"shift{index}"].shape[1:] != (size,):
                raise CheckpointError("the context model's shifts do not fit its sizes")
        weights, shifts = [], []
        for index, mask in enumerate(_masks(latents, hidden, outputs)):
            flat = arrays[f"weight{index}"]
            if flat.shape != (int(mask.sum()),):
                raise CheckpointError("the context model's weights do not fit its masks")
            weight = np.zeros(mask.shape, np.int16)
            weight[mask] = flat
            weights.append(weight)
            shifts.append(arrays[f"shift{index}"])
        return cls(
            latents=latents,
            max_symbol=max_symbol,
            weights=weights,
            shifts=shifts,
            lookup=Lookup(exp=arrays["exp"], sigmoid=arrays["sigmoid"]),
        )


def _masks(latents: int, hidden: int, outputs: int) -> list[npt.NDArray[np.bool_]]:
    """Which weights of each layer (out, in) may differ from zero."""
    order = np.arange(latents)
    of_hidden, of_output = order.repeat(hidden // latents), order.repeat(outputs // latents)
    return [
        order[None] < of_hidden[:, None],
        of_hidden[None] <= of_hidden[:, None],
        of_hidden[None] <= of_output[:, None],
    ]


def _array(tensors: Mapping[str, torch.Tensor], key: str, kind: torch.dtype) -> npt.NDArray[Any]:
    tensor = tensors.get(key)
    if tensor is None or tensor.dtype != kind:
        raise CheckpointError(f"entropy.{key} must be a tensor of {kind}")
    return tensor.numpy()


def _whole(array: npt.NDArray[Any], count: int) -> list[int]:
    if array.shape != (count,):
        raise CheckpointError("the context model's sizes have another number")
    return [int(n) for n in array]
