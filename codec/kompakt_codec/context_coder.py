"""The entropy path of the context model: a masked integer network over vectors of latents.

``ContextEntropy`` codes each latent with frequencies that exact integers choose from those before
it (docs/format.md, "Context payload"). All images of a batch go in step, latent by latent.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import torch

from kompakt_codec.context_kernel import Layer, Network, code
from kompakt_codec.context_layers import (
    Shifts,
    Weights,
    check_layers,
    layers_from_tensors,
    layers_to_tensors,
    whole,
)
from kompakt_codec.entropy import (
    Decoded,
    LatentShape,
    Levels,
    Payloads,
    Symbols,
    decode_each,
    tensor_array,
)
from kompakt_codec.errors import CheckpointError, StreamError
from kompakt_codec.integer import (
    ACTIVATION_BITS,
    ACTIVATION_LIMIT,
    WEIGHT_BITS,
    Lookup,
    check_exact,
)
from kompakt_codec.range_coder import PRECISION, RangeDecoders, RangeEncoders
from kompakt_codec.trellis import Quantiser

if TYPE_CHECKING:
    from kompakt_codec.models import MaskedPrior

MAX_INDEX = 127
_DEPENDENT = "dependent"


class ContextEntropy:
    """Codes vectors of ``latents`` symbols, with indices from -max_symbols[q] to max_symbols[q].

    A symbol is its index or, if any level is ``dependent`` (levels,), twice that and 0 or 1
    (``Quantiser``). ``weights`` are three int16 matrices (out, in), in which what the masks forbid
    is zero; ``shifts`` three int64 matrices (levels, out). Raises CheckpointError if they do not
    fit.
    """

    has_between = False

    def __init__(
        self,
        *,
        latents: int,
        max_symbols: Sequence[int],
        dependent: Sequence[bool] = (),
        weights: Weights,
        shifts: Shifts,
        lookup: Lookup,
    ) -> None:
        self.latents, self.max_symbols, self.lookup = latents, list(max_symbols), lookup
        self.quantiser = Quantiser(tuple(dependent) or (False,) * len(self.max_symbols))
        self.weights, self.shifts = list(weights), list(shifts)
        self._check()
        self.levels = self.shifts[0].shape[0]
        self.units = self.weights[0].shape[0] // latents
        self.components = self.weights[2].shape[0] // (3 * latents)
        layers = [
            Layer(weight.astype(np.float64), shift.astype(np.float64))
            for weight, shift in zip(self.weights, self.shifts, strict=True)
        ]
        step = self.quantiser.step
        inputs = (
            float(step * (max(max_symbols) + 1) - 1),
            float(ACTIVATION_LIMIT),
            float(ACTIVATION_LIMIT),
        )
        for layer, largest in zip(layers, inputs, strict=True):
            check_exact(layer.weight, layer.shifts, largest)
        first, second, last = layers
        self._bounds = np.asarray(self.max_symbols, np.int64)
        is_dependent = np.asarray(self.quantiser.dependent)
        self._network = Network(
            first, second, last, self._bounds, is_dependent, step, lookup.exp, lookup.sigmoid
        )

    @classmethod
    def freeze(
        cls, prior: "MaskedPrior", *, max_symbols: Sequence[int], dependent: Sequence[bool] = ()
    ) -> Self:
        """The integers of a trained prior, with the largest index of each level."""
        layers = prior.integer_layers(WEIGHT_BITS)
        scales = (1 << WEIGHT_BITS, *[1 << (WEIGHT_BITS + ACTIVATION_BITS)] * 2)
        return cls(
            latents=prior.latents,
            max_symbols=max_symbols,
            dependent=dependent,
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
            step=self.quantiser.step,
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
        is_dependent = any(self.quantiser.dependent)
        digest = hashlib.sha256(b"kompakt entropy path %d\0" % (7 if is_dependent else 2))
        digest.update(struct.pack("<2I", self.latents, self.levels))
        digest.update(struct.pack(f"<{self.levels}I", *self.max_symbols))
        if is_dependent:
            digest.update(struct.pack(f"<{self.levels}I", *self.quantiser.dependent))
        for weight, shifts in zip(self.weights, self.shifts, strict=True):
            digest.update(struct.pack("<3I", *weight.shape, len(shifts)))
            digest.update(weight.astype("<i2").tobytes())
            digest.update(shifts.astype("<i8").tobytes())
        digest.update(self.lookup.exp.astype("<i4").tobytes())
        digest.update(self.lookup.sigmoid.astype("<i4").tobytes())
        return digest.digest()

    def quantise(self, latents: npt.NDArray[np.float32], levels: Levels) -> Symbols:
        """Latents (N, C, 1, 1) to the nearest symbols."""
        bounds = self._bounds[np.asarray(levels, np.int64)]
        rows = latents.reshape(len(latents), self.latents)
        return self.quantiser.quantise(rows, levels, bounds).reshape(latents.shape)

    def encode(self, symbols: Symbols, levels: Levels) -> list[bytes]:
        """Code symbols (N, C, 1, 1), each image at its level, to payloads.

        Raises ValueError for symbols that ``quantise`` would not give.
        """
        encoders = RangeEncoders.start(len(symbols), PRECISION * self.latents)
        if self._code(encoders, symbols, levels, decoding=False).any():
            raise ValueError("symbols that the level's quantiser does not have")
        return encoders.finish()

    def decode(
        self, payloads: Payloads, levels: Levels, shape: LatentShape
    ) -> list[Symbols | StreamError]:
        """Recover symbols (C, 1, 1) from each payload, or the error that it is."""
        assert shape == (self.latents, 1, 1)
        return decode_each(payloads, levels, 8 + PRECISION // 8 * self.latents, self._take)

    def _take(self, decoders: RangeDecoders, levels: Levels) -> Decoded:
        symbols = np.zeros((len(levels), self.latents, 1, 1), np.int16)
        return symbols, self._code(decoders, symbols, levels, decoding=True)

    def _code(
        self,
        coders: RangeEncoders | RangeDecoders,
        symbols: Symbols,
        levels: Levels,
        *,
        decoding: bool,
    ) -> npt.NDArray[np.bool_]:
        rows = np.ascontiguousarray(symbols).reshape(len(symbols), self.latents)
        chosen = np.asarray(levels, np.int64)
        return code(coders.states, coders.words, rows, chosen, decoding, self._network)

    def _check(self) -> None:
        check_layers(self.latents, self.weights, self.shifts)
        levels = len(self.shifts[0])
        if len(self.max_symbols) != levels:
            raise CheckpointError("every level needs its largest symbol")
        if not all(1 <= symbol <= MAX_INDEX for symbol in self.max_symbols):
            raise CheckpointError(f"a level's largest symbol is from 1 to {MAX_INDEX}")
        if len(self.quantiser.dependent) != levels:
            raise CheckpointError("every level needs its quantiser")

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint holds."""
        made = {
            "max_symbols": torch.tensor(self.max_symbols, dtype=torch.int32),
            "exp": torch.from_numpy(self.lookup.exp),
            "sigmoid": torch.from_numpy(self.lookup.sigmoid),
        }
        if any(self.quantiser.dependent):
            made[_DEPENDENT] = torch.tensor(self.quantiser.dependent, dtype=torch.int32)
        return made | layers_to_tensors(self.latents, self.weights, self.shifts)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> Self:
        """The inverse of ``tensors``. Raises CheckpointError."""
        max_symbols, exp, sigmoid = (
            tensor_array(tensors, key, torch.int32) for key in ("max_symbols", "exp", "sigmoid")
        )
        latents, weights, shifts = layers_from_tensors(tensors)
        levels = len(shifts[0])
        return cls(
            latents=latents,
            max_symbols=whole(max_symbols, levels),
            dependent=_dependent(tensors, levels),
            weights=weights,
            shifts=shifts,
            lookup=Lookup(exp=exp, sigmoid=sigmoid),
        )


def _dependent(tensors: Mapping[str, torch.Tensor], levels: int) -> list[bool]:
    """Which levels have a trellis; models of scalar quantisers alone say nothing of it."""
    if _DEPENDENT not in tensors:
        return [False] * levels
    said = whole(tensor_array(tensors, _DEPENDENT, torch.int32), levels)
    if not any(said) or not set(said) <= {0, 1}:
        raise CheckpointError("entropy.dependent must hold 0 and 1, and not only 0")
    return [bool(n) for n in said]
