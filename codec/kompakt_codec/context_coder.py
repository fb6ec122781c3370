"""The entropy path of the context model: a masked integer network over vectors of latents.

``ContextEntropy`` codes each latent with frequencies that exact integers choose from those before
it (docs/format.md, "Context payload"). All images of a batch go in step, latent by latent.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
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
    tensor_array,
    terminate,
)
from kompakt_codec.errors import CheckpointError, CorruptStreamError, StreamError
from kompakt_codec.grouping import positions_by
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
_ENCODE_CHUNK = 32
"""Images coded at a time: what keeps their tables in the cache."""
_DECODE_CHUNK = 512
MAX_LATENTS = 1024
MAX_COMPONENTS = 8
"""With more, a sum of masses could leave 64 bits."""
_KINDS = {
    "max_symbols": torch.int32,
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
    """Codes vectors of ``latents`` symbols, at level q from -max_symbols[q] to max_symbols[q].

    ``weights`` are three int16 matrices (out, in), in which what the masks forbid is zero;
    ``shifts`` three int64 matrices (levels, out). Raises CheckpointError if they do not fit.
    """

    def __init__(
        self,
        *,
        latents: int,
        max_symbols: Sequence[int],
        weights: Sequence[npt.NDArray[np.int16]],
        shifts: Sequence[npt.NDArray[np.int64]],
        lookup: Lookup,
    ) -> None:
        self.latents, self.max_symbols, self.lookup = latents, list(max_symbols), lookup
        self.weights, self.shifts = list(weights), list(shifts)
        self._check()
        self.levels = self.shifts[0].shape[0]
        self.units = self.weights[0].shape[0] // latents
        self.components = self.weights[2].shape[0] // (3 * latents)
        self._max_payload = 8 + 3 * latents
        self._layers = [
            _Layer(weight=w.astype(np.float64), shifts=s.astype(np.float64))
            for w, s in zip(self.weights, self.shifts, strict=True)
        ]
        inputs = (float(max(max_symbols)), float(ACTIVATION_LIMIT), float(ACTIVATION_LIMIT))
        for layer, largest in zip(self._layers, inputs, strict=True):
            check_exact(layer.weight, layer.shifts, largest)

    @classmethod
    def freeze(cls, prior: "MaskedPrior", *, max_symbols: Sequence[int]) -> Self:
        """The integers of a trained prior, with the largest symbol of each level."""
        layers = prior.integer_layers(WEIGHT_BITS)
        scales = (1 << WEIGHT_BITS, *[1 << (WEIGHT_BITS + ACTIVATION_BITS)] * 2)
        return cls(
            latents=prior.latents,
            max_symbols=max_symbols,
            weights=[weight for weight, _ in layers],
            shifts=[
                np.rint(shift * scale).astype(np.int64)
                for (_, shift), scale in zip(layers, scales, strict=True)
            ],
            lookup=Lookup.make(),
        )

    def prior(self) -> "MaskedPrior":
        """The prior in floating point, for an encoder that looks for cheap symbols."""
        from kompakt_codec.models import MaskedPrior  # which imports this module's neighbours

        return MaskedPrior.from_integers(
            self.weights,
            self.shifts,
            latents=self.latents,
            weight_bits=WEIGHT_BITS,
            sum_bits=WEIGHT_BITS + ACTIVATION_BITS,
        )

    @property
    def channels(self) -> int:
        """The number of latents."""
        return self.latents

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the entropy path, 32 bytes (docs/format.md, "Fingerprint")."""
        digest = hashlib.sha256(b"kompakt entropy path 2\0")
        digest.update(struct.pack("<2I", self.latents, self.levels))
        digest.update(struct.pack(f"<{self.levels}I", *self.max_symbols))
        for weight, shifts in zip(self.weights, self.shifts, strict=True):
            digest.update(struct.pack("<3I", *weight.shape, len(shifts)))
            digest.update(weight.astype("<i2").tobytes())
            digest.update(shifts.astype("<i8").tobytes())
        digest.update(self.lookup.exp.astype("<i4").tobytes())
        digest.update(self.lookup.sigmoid.astype("<i4").tobytes())
        return digest.digest()

    def clip(self, latents: npt.NDArray[np.float32], levels: Sequence[int]) -> Symbols:
        """Round latents (N, C, 1, 1) to the nearest symbols."""
        bound = np.asarray(self.max_symbols)[list(levels)].reshape(-1, 1, 1, 1)
        return np.clip(np.rint(latents), -bound, bound).astype(np.int16)

    def encode(self, symbols: Symbols, levels: Sequence[int]) -> list[bytes]:
        """Code symbols (N, C, 1, 1), each image at its level, to payloads."""
        payloads = [b""] * len(symbols)
        rows = symbols.reshape(len(symbols), self.latents)
        for level, members in _chunks_by_level(levels, _ENCODE_CHUNK):
            for i, payload in zip(members, self._encode_level(rows[members], level), strict=True):
                payloads[i] = payload
        return payloads

    def _encode_level(self, rows: Symbols, level: int) -> Iterator[bytes]:
        mixtures = self._all_parameters(rows, level)
        weights = self._weights(mixtures.reshape(-1, self.components, 3), level)
        indices = rows.astype(np.int32) + self.max_symbols[level]
        for row, table in zip(indices, np.split(weights, len(rows)), strict=True):
            encoder = constriction.stream.queue.RangeEncoder()
            encoder.encode(row, _FAMILY, table)
            yield terminate(encoder)

    def decode(
        self, payloads: Payloads, levels: Sequence[int], shape: LatentShape
    ) -> list[Symbols | StreamError]:
        """Recover symbols (C, 1, 1) from each payload, or the error that it is."""
        assert shape == (self.latents, 1, 1)
        results: list[Symbols | StreamError | None] = [None] * len(payloads)
        for level, members in _chunks_by_level(levels, _DECODE_CHUNK):
            decoders, indices = [], []
            for i in members:
                opened = open_payload(payloads[i], self._max_payload)
                if isinstance(opened, StreamError):
                    results[i] = opened
                else:
                    decoders.append(opened)
                    indices.append(i)
            decoded = self._decode_in_step(decoders, level) if decoders else []
            for i, item in zip(indices, decoded, strict=True):
                results[i] = item
        return [item for item in results if item is not None]

    def _weights(self, mixtures: Integers, level: int) -> Floats:
        bound = self.max_symbols[level]
        return self.lookup.mixture_weights(mixtures, -bound, 2 * bound + 1)

    def _all_parameters(self, rows: Symbols, level: int) -> Integers:
        """Mixtures (N, latents, components, 3) of whole vectors of symbols."""
        h = rows.astype(np.float64)
        drop = (WEIGHT_BITS - ACTIVATION_BITS, WEIGHT_BITS)
        for layer, bits in zip(self._layers[:2], drop, strict=True):
            h = rectify(round_shift(h @ layer.weight.T + layer.shifts[level], bits))
        return self._mixtures(h @ self._layers[2].weight.T + self._layers[2].shifts[level])

    def _mixtures(self, sums: Floats) -> Integers:
        bits = WEIGHT_BITS + ACTIVATION_BITS - PARAMETER_BITS
        values = round_shift(sums, bits).astype(np.int64)
        return values.reshape(len(sums), -1, self.components, 3)

    def _decode_in_step(
        self,
        decoders: Sequence[constriction.stream.queue.RangeDecoder],
        level: int,
    ) -> list[Symbols | StreamError]:
        count, units, outputs = len(decoders), self.units, 3 * self.components
        y = np.zeros((count, self.latents))
        hidden = [np.zeros((count, self.latents * units)) for _ in range(2)]
        first, second, last = self._layers
        failed: set[int] = set()
        for i in range(self.latents):
            group, upto = slice(i * units, (i + 1) * units), (i + 1) * units
            out = slice(i * outputs, (i + 1) * outputs)
            sums = y[:, :i] @ first.weight[group, :i].T + first.shifts[level, group]
            hidden[0][:, group] = rectify(round_shift(sums, WEIGHT_BITS - ACTIVATION_BITS))
            sums = hidden[0][:, :upto] @ second.weight[group, :upto].T
            sums += second.shifts[level, group]
            hidden[1][:, group] = rectify(round_shift(sums, WEIGHT_BITS))
            sums = hidden[1][:, :upto] @ last.weight[out, :upto].T + last.shifts[level, out]
            y[:, i] = self._decode_one(decoders, self._mixtures(sums)[:, 0], level, failed)
        vectors = y.astype(np.int16).reshape(count, self.latents, 1, 1)
        wrong = "no symbols lead to this payload"
        return [CorruptStreamError(wrong) if k in failed else vectors[k] for k in range(count)]

    def _decode_one(
        self,
        decoders: Sequence[constriction.stream.queue.RangeDecoder],
        mixtures: Integers,
        level: int,
        failed: set[int],
    ) -> npt.NDArray[np.float64]:
        """One symbol of each stream; those that hold none are noted and get 0."""
        weights = self._weights(mixtures, level)
        symbols = np.zeros(len(decoders))
        model = constriction.stream.model.Categorical
        for k, (decoder, row) in enumerate(zip(decoders, weights, strict=True)):
            if k in failed:
                continue
            try:
                symbols[k] = decoder.decode(model(row, perfect=False)) - self.max_symbols[level]
            except AssertionError:  # constriction's word for a number outside every symbol
                failed.add(k)
        return symbols

    def _check(self) -> None:
        in_range = all(1 <= symbol <= MAX_SYMBOL for symbol in self.max_symbols)
        if not 1 <= self.latents <= MAX_LATENTS or not in_range:
            raise CheckpointError("the context model's latents or symbols are out of range")
        if len(self.weights) != _LAYERS or len(self.shifts) != _LAYERS:
            raise CheckpointError("a context model has three layers")
        sizes = [self.latents, *(len(weight) for weight in self.weights)]
        hidden, outputs = sizes[1], sizes[3]
        fits = sizes[2] == hidden and hidden % self.latents == 0 and hidden > 0
        fits = fits and outputs % (3 * self.latents) == 0
        fits = fits and 1 <= outputs // (3 * self.latents) <= MAX_COMPONENTS
        shapes = [(o, i) for i, o in pairwise(sizes)]
        if not fits or [w.shape for w in self.weights] != shapes:
            raise CheckpointError("the context model's layers do not fit each other")
        levels = len(self.shifts[0])
        if levels < 1 or len(self.max_symbols) != levels:
            raise CheckpointError("every level needs its largest symbol")
        if [s.shape for s in self.shifts] != [(levels, o) for o in sizes[1:]]:
            raise CheckpointError("the context model's shifts do not fit its layers")
        masks = _masks(self.latents, hidden, outputs)
        for weight, mask in zip(self.weights, masks, strict=True):
            if weight[~mask].any():
                raise CheckpointError("the context model looks ahead")

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint holds; of the weights only those that the masks leave."""
        made = {
            "max_symbols": torch.tensor(self.max_symbols, dtype=torch.int32),
            "sizes": torch.tensor(
                [self.latents, len(self.weights[0]), len(self.weights[2])], dtype=torch.int32
            ),
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
        arrays = {key: tensor_array(tensors, key, kind) for key, kind in _KINDS.items()}
        latents, hidden, outputs = _whole(arrays["sizes"], 3)
        if not 1 <= latents <= min(MAX_LATENTS, hidden, outputs):
            raise CheckpointError("the context model's sizes are out of range")
        if hidden % latents or outputs % (3 * latents):
            raise CheckpointError("the context model's layers do not divide into its latents")
        lengths = _mask_lengths(latents, hidden // latents, outputs // latents)
        for index, length in enumerate(lengths):  # before memory for the masks
            if arrays[f"weight{index}"].shape != (length,):
                raise CheckpointError("the context model's weights do not fit its masks")
        weights, shifts = [], []
        for index, mask in enumerate(_masks(latents, hidden, outputs)):
            weight = np.zeros(mask.shape, np.int16)
            weight[mask] = arrays[f"weight{index}"]
            weights.append(weight)
            shifts.append(arrays[f"shift{index}"])
        return cls(
            latents=latents,
            max_symbols=_whole(arrays["max_symbols"], len(arrays["shift0"])),
            weights=weights,
            shifts=shifts,
            lookup=Lookup(exp=arrays["exp"], sigmoid=arrays["sigmoid"]),
        )


def _chunks_by_level(levels: Sequence[int], size: int) -> Iterator[tuple[int, list[int]]]:
    """Each level that occurs, with the positions where it does, at most ``size`` at a time."""
    for level, positions in positions_by(levels).items():
        for start in range(0, len(positions), size):
            yield level, positions[start : start + size]


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


def _whole(array: npt.NDArray[Any], count: int) -> list[int]:
    if array.shape != (count,):
        raise CheckpointError("the context model's sizes have another number")
    return [int(n) for n in array]
