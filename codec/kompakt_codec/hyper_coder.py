"""The entropy path of the hyperprior: side information, then latents group by group.

``HyperEntropy`` codes z by static tables, and each latent by a mean and a scale that exact integer
networks choose from z and the groups of channels before (docs/format.md, "Hyperprior payload").
"""

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import torch

from kompakt_codec.entropy import (
    Decoded,
    LatentShape,
    Levels,
    Payloads,
    Symbols,
    chunks,
    decode_each,
    max_payload,
    tensor_array,
)
from kompakt_codec.errors import CheckpointError, StreamError
from kompakt_codec.hyper_layers import (
    SUM_BITS,
    Step,
    check_layers,
    largest_input,
    layer_names,
    layers_from_tensors,
    layers_to_tensors,
    sees_symbols,
    split_parameters,
    steps_of,
)
from kompakt_codec.integer import (
    ACTIVATION_BITS,
    WEIGHT_BITS,
    Floats,
    Lookup,
    rectify,
    round_shift,
)
from kompakt_codec.integer_conv import IntegerConv, shuffle
from kompakt_codec.range_coder import PRECISION, RangeDecoders, RangeEncoders
from kompakt_codec.residual_coder import MAX_SYMBOL, MOST_BITS, Numbers, ResidualTables
from kompakt_codec.table_coder import TableEntropy

if TYPE_CHECKING:
    from kompakt_codec.models import HyperPrior


class HyperEntropy:
    """Codes latents (C, h, w) of any h and w, symbols from -1023 to 1023.

    ``layers`` are the integer convolutions by name, as ``HyperPrior.integer_layers`` names them,
    ``side`` the tables of z at each level, for a shape (channels, 1, 1). Raises CheckpointError if
    they do not fit each other.
    """

    has_between = True

    def __init__(
        self, *, layers: Mapping[str, IntegerConv], side: TableEntropy, lookup: Lookup
    ) -> None:
        self.layers, self.side, self.lookup = dict(layers), side, lookup
        self.bounds, self.spatial = check_layers(self.layers, side)
        self._steps = steps_of(self.bounds, self.spatial)
        self.levels = side.levels
        self.channels = self.bounds[-1]
        self._tables = ResidualTables(lookup)

    @classmethod
    def freeze(cls, prior: "HyperPrior", side: TableEntropy) -> Self:
        """The integers of a trained prior, with the tables of its side information."""
        layers = {}
        for name, layer in prior.integer_layers(WEIGHT_BITS).items():
            layers[name] = IntegerConv(
                weight=layer.weight,
                shifts=np.rint(layer.shifts * _unit(name)).astype(np.int64),
                largest_input=largest_input(name),
            )
        return cls(layers=layers, side=side, lookup=Lookup.make())

    def restore(self, prior: "HyperPrior") -> None:
        """Make a prior the one that this was frozen from, to train it further.

        The side information's part is only near to that: of its tables it gets mean and deviation.
        Raises ValueError if it is of other sizes.
        """
        from kompakt_codec.models import IntegerLayer  # which imports this module's neighbours

        layers = {
            name: IntegerLayer(weight=layer.weight, shifts=layer.shifts / _unit(name))
            for name, layer in self.layers.items()
        }
        prior.take_integers(layers, WEIGHT_BITS)
        prior.side.take_moments(*map(torch.from_numpy, self.side.moments()))

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the entropy path, 32 bytes (docs/format.md, "Fingerprint")."""
        if self.spatial:
            digest = hashlib.sha256(b"kompakt entropy path 6\0")
            digest.update(struct.pack("<3I", self.levels, len(self.bounds) - 1, self.spatial))
        else:
            digest = hashlib.sha256(b"kompakt entropy path 4\0")
            digest.update(struct.pack("<2I", self.levels, len(self.bounds) - 1))
        for name in layer_names(len(self.bounds) - 1, self.spatial):
            layer = self.layers[name]
            digest.update(struct.pack("<3I", *layer.weight.shape[:3]))
            digest.update(layer.weight.astype("<i2").tobytes())
            digest.update(layer.shifts.astype("<i8").tobytes())
        digest.update(self.lookup.exp.astype("<i4").tobytes())
        digest.update(self.lookup.sigmoid.astype("<i4").tobytes())
        digest.update(self.side.fingerprint)
        return digest.digest()

    def quantise(self, latents: npt.NDArray[np.float32], levels: Levels) -> Symbols:
        """Round latents (N, C, h, w) to the nearest symbols."""
        del levels
        clipped = np.fmin(np.fmax(np.rint(latents), -MAX_SYMBOL), MAX_SYMBOL)  # NaN too
        return clipped.astype(np.int16)

    def side_information(self, symbols: Symbols, levels: Levels) -> Symbols:
        """What the encoder sends first of symbols (N, C, h, w): z (N, S, ceil(h/2), ceil(w/2))."""
        h = _channels_last(symbols)
        h = rectify(self.layers["h_a.0"](h, levels), WEIGHT_BITS - ACTIVATION_BITS)
        h = rectify(self.layers["h_a.1"](h, levels), WEIGHT_BITS)
        z = round_shift(self.layers["h_a.2"](h, levels), SUM_BITS)
        return self.side.quantise(z.transpose(0, 3, 1, 2).astype(np.float32), _nearest(levels))

    def encode(self, symbols: Symbols, levels: Levels) -> list[bytes]:
        """Code symbols (N, C, h, w), each image at its level, to payloads."""
        payloads: list[bytes] = []
        for part in chunks(len(symbols), symbols.shape[1:]):
            payloads += self._encode(symbols[part], levels[part])
        return payloads

    def _encode(self, symbols: Symbols, levels: Levels) -> list[bytes]:
        z = self.side_information(symbols, levels)
        most_bits = MOST_BITS * symbols[0].size + PRECISION * z[0].size
        encoders = RangeEncoders.start(len(symbols), most_bits)
        self.side.put(encoders, z, _nearest(levels))

        def code(step: Step, means: Numbers, scales: Numbers) -> Symbols:
            values = step.of(symbols)
            flat = values.reshape(len(values), -1).astype(np.int32)
            self._tables.encode(encoders, flat, means, scales)
            return values

        self._walk(z, levels, symbols.shape[1:], code)
        return encoders.finish()

    def decode(
        self, payloads: Payloads, levels: Levels, shape: LatentShape
    ) -> list[Symbols | StreamError]:
        """Recover symbols of ``shape`` (C, h, w) from each payload, or the error that it is."""
        results: list[Symbols | StreamError] = []
        for part in chunks(len(payloads), shape):
            results += self._decode(payloads[part], levels[part], shape)
        return results

    def _decode(
        self, payloads: Payloads, levels: Levels, shape: LatentShape
    ) -> list[Symbols | StreamError]:
        limit = max_payload(shape, self._side_shape(shape))
        return decode_each(payloads, levels, limit, lambda d, q: self._take(d, q, shape))

    def _take(self, decoders: RangeDecoders, levels: Levels, shape: LatentShape) -> Decoded:
        z, failed = self.side.take(decoders, _nearest(levels), self._side_shape(shape))
        symbols = np.zeros((len(levels), *shape), np.int16)

        def code(step: Step, means: Numbers, scales: Numbers) -> Symbols:
            values = step.of(symbols)
            found = self._tables.decode(decoders, means, scales, failed)
            values[:] = found.reshape(values.shape)
            return values

        self._walk(z, levels, shape, code)
        return symbols, failed

    def _walk(
        self,
        z: Symbols,
        levels: Levels,
        shape: Sequence[int],
        code: Callable[[Step, Numbers, Numbers], Symbols],
    ) -> None:
        """Have ``code`` tell the latents step by step: given their means and log-scales (N, n)."""
        features = self._features(z, levels, shape[1:])
        y = np.zeros((len(levels), *shape[1:], shape[0]))
        for group, steps in enumerate(self._steps):
            before = np.zeros((1, *shape[1:], 1))
            if group:
                known = y[..., : steps[0].start]
                before = self.layers[f"before.{group - 1}"](known, levels)
            for step in steps:
                context = before[step.places]
                if not context.size:  # a single row or column
                    continue
                if step.near:
                    ours = y[..., step.start : step.stop]
                    context = context + self.layers[step.near](ours, levels, place=step.place)
                sums = features[step.places] + context * (1 << ACTIVATION_BITS)
                values = code(step, *self._parameters(step, sums, levels))
                y[(*step.places, slice(step.start, step.stop))] = values.transpose(0, 2, 3, 1)

    def _features(self, z: Symbols, levels: Levels, size: Sequence[int]) -> Floats:
        h = shuffle(self.layers["h_s.0"](_channels_last(z), levels), 2)
        h = rectify(h, WEIGHT_BITS - ACTIVATION_BITS)
        return self.layers["h_s.1"](h[:, : size[0], : size[1]], levels)

    def _parameters(self, step: Step, sums: Floats, levels: Levels) -> tuple[Numbers, Numbers]:
        """Means and log-scales (N, n), in coding order."""
        h = self.layers[step.mixed](rectify(sums, WEIGHT_BITS), levels)
        h = self.layers[step.last](rectify(h, WEIGHT_BITS), levels)
        channels = h.shape[3] // 2
        flat = h.reshape(len(h), -1, 2 * channels)
        means = np.empty((len(h), channels * flat.shape[1]), np.int32)
        scales = np.empty_like(means)
        split_parameters(flat, means, scales)
        return means, scales

    def _side_shape(self, shape: LatentShape) -> LatentShape:
        return self.side.shape[0], -(-shape[1] // 2), -(-shape[2] // 2)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint holds: the layers, the lookup tables and the side's tables."""
        made = {"exp": torch.from_numpy(self.lookup.exp)}
        made["sigmoid"] = torch.from_numpy(self.lookup.sigmoid)
        return {**made, **layers_to_tensors(self.layers), **self.side.tensors()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor], *, levels: int) -> Self:
        """The inverse of ``tensors``. Raises CheckpointError."""
        last = tensors.get("h_a.2.shifts")
        if last is None or last.ndim != 2 or not last.shape[1]:
            raise CheckpointError("the hyperprior's layers are not those of a hyperprior")
        side = TableEntropy.from_tensors(tensors, shape=(last.shape[1], 1, 1), levels=levels)
        lookup = Lookup(
            exp=tensor_array(tensors, "exp", torch.int32),
            sigmoid=tensor_array(tensors, "sigmoid", torch.int32),
        )
        return cls(layers=layers_from_tensors(tensors), side=side, lookup=lookup)


def _unit(name: str) -> int:
    """A one of a layer's sums and shifts."""
    return 1 << (WEIGHT_BITS if sees_symbols(name) else SUM_BITS)


def _nearest(levels: Levels) -> Levels:
    """The levels whose tables of z serve: halves go to the finer one."""
    return [int(level + 0.5) for level in levels]


def _channels_last(symbols: Symbols) -> Floats:
    return np.ascontiguousarray(symbols.transpose(0, 2, 3, 1), np.float64)
