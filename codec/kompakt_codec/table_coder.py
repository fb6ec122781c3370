"""Static tables as an entropy path (docs/format.md, "Symbols")."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch

from kompakt_codec.entropy import (
    Decoded,
    EntropyTables,
    LatentShape,
    Levels,
    Payloads,
    Symbols,
    decode_each,
    tensor_array,
)
from kompakt_codec.errors import CheckpointError, StreamError
from kompakt_codec.jit import kernel
from kompakt_codec.range_coder import (
    PRECISION,
    RangeDecoders,
    RangeEncoders,
    States,
    Words,
    find,
    put,
)

Integers = npt.NDArray[np.int64]


class _Packed(NamedTuple):
    """All levels' tables: (levels, C) each, and cumulative frequencies one after another."""

    starts: Integers
    lengths: Integers
    minimums: Integers
    cumulative: npt.NDArray[np.uint32]


class TableEntropy:
    """Static tables as an entropy path: one set for each rate level."""

    has_between = False

    def __init__(self, tables: Sequence[EntropyTables]) -> None:
        if len({t.shape for t in tables}) != 1:
            raise CheckpointError("every level needs tables for latents of one shape")
        self.tables = list(tables)
        packed = self._packed = _pack(tables)
        highest = packed.minimums + packed.lengths - 1
        self._ends = [
            ends[:, :, None, None].astype(np.float32) for ends in (packed.minimums, highest)
        ]

    @property
    def shape(self) -> LatentShape:
        """(C, h, w) of one image's symbols; (C, 1, 1) also where models accept any size."""
        return self.tables[0].shape

    @property
    def channels(self) -> int:
        """How many channels the symbols have."""
        return self.shape[0]

    @property
    def levels(self) -> int:
        """The number of sets of tables."""
        return len(self.tables)

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the entropy path (docs/format.md, "Fingerprint")."""
        if len(self.tables) == 1:
            return self.tables[0].fingerprint
        digest = hashlib.sha256(b"kompakt entropy path 3\0")
        for tables in self.tables:
            digest.update(tables.fingerprint)
        return digest.digest()

    def moments(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Mean and standard deviation of the symbols, each (levels, C)."""
        made = np.empty((2, self.levels, self.channels), np.float32)
        for level, tables in enumerate(self.tables):
            for channel, frequencies in enumerate(tables.frequencies):
                symbols = tables.minimums[channel] + np.arange(len(frequencies))
                mean = np.average(symbols, weights=frequencies)
                variance = np.average((symbols - mean) ** 2, weights=frequencies)
                made[:, level, channel] = mean, np.sqrt(variance)
        return made[0], made[1]

    def quantise(self, latents: npt.NDArray[np.float32], levels: Levels) -> Symbols:
        """Round latents (N, C, h, w) to the nearest symbols that each image's tables hold."""
        low, high = (ends[np.asarray(levels, np.int64)] for ends in self._ends)
        # What is no number becomes the lowest symbol: no index may leave the tables.
        clipped: Symbols = np.fmin(np.fmax(np.rint(latents), low), high).astype(np.int16)
        return clipped

    def encode(self, symbols: Symbols, levels: Levels) -> list[bytes]:
        """Code symbols (N, C, h, w) to payloads."""
        encoders = RangeEncoders.start(len(symbols), PRECISION * symbols[0].size)
        self.put(encoders, symbols, levels)
        return encoders.finish()

    def put(self, encoders: RangeEncoders, symbols: Symbols, levels: Levels) -> None:
        """Code symbols (N, C, h, w) after what the encoders hold."""
        rows = np.ascontiguousarray(symbols).reshape(*symbols.shape[:2], -1)
        _put(encoders.states, encoders.words, rows, np.asarray(levels, np.int64), self._packed)

    def decode(
        self, payloads: Payloads, levels: Levels, shape: LatentShape
    ) -> list[Symbols | StreamError]:
        """Recover symbols of ``shape`` from each payload, or the error that it is."""
        limit = 8 + PRECISION // 8 * int(np.prod(shape, dtype=np.int64))
        return decode_each(payloads, levels, limit, lambda d, q: self.take(d, q, shape))

    def take(self, decoders: RangeDecoders, levels: Levels, shape: LatentShape) -> Decoded:
        """The next symbols (N, C, h, w) of the decoders, and which of them hold none."""
        symbols = np.zeros((len(levels), *shape), np.int16)
        rows = symbols.reshape(len(levels), shape[0], -1)
        chosen = np.asarray(levels, np.int64)
        failed = _take(decoders.states, decoders.words, rows, chosen, self._packed)
        return symbols, failed

    def tensors(self) -> dict[str, torch.Tensor]:
        """Minimums, lengths and frequencies of all levels, one after another."""
        tables = self.tables
        frequencies = [f for t in tables for f in t.frequencies]
        flat = np.concatenate(frequencies).astype(np.int32)  # at most 2**24: int32 is exact
        minimums = [m for t in tables for m in t.minimums]
        return {
            "minimums": torch.tensor(minimums, dtype=torch.int32),
            "lengths": torch.tensor([len(f) for f in frequencies], dtype=torch.int32),
            "frequencies": torch.from_numpy(flat),
        }

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, torch.Tensor], *, shape: LatentShape, levels: int
    ) -> Self:
        """The inverse of ``tensors``. Raises CheckpointError."""
        minimums, lengths, flat = (
            tensor_array(tensors, key, torch.int32)
            for key in ("minimums", "lengths", "frequencies")
        )
        if any(array.ndim != 1 for array in (minimums, lengths, flat)) or len(lengths) < 1:
            raise CheckpointError("entropy.minimums, lengths and frequencies are lists")
        if lengths.min() < 1 or lengths.sum(dtype=np.int64) != len(flat):
            raise CheckpointError("entropy.lengths do not divide entropy.frequencies")
        if flat.min() < 1:
            raise CheckpointError("frequencies must be >= 1")
        if len(lengths) % levels:
            raise CheckpointError(f"{len(lengths)} tables do not divide into {levels} levels")
        if len(minimums) != len(lengths):
            raise CheckpointError("every table needs its minimum")
        if len(lengths) != levels * shape[0]:  # before each gets an object of its own
            raise CheckpointError(f"{shape[0]} channels need as many minimums and tables")
        split = np.split(flat.astype(np.uint32), np.cumsum(lengths, dtype=np.int64)[:-1])
        channels = len(split) // levels
        return cls(
            [
                EntropyTables(
                    shape=shape,
                    minimums=minimums[start : start + channels].tolist(),
                    frequencies=split[start : start + channels],
                )
                for start in range(0, len(split), channels)
            ]
        )


def _pack(tables: Sequence[EntropyTables]) -> _Packed:
    flat = [table for level in tables for table in level.frequencies]
    shape = (len(tables), len(tables[0].frequencies))
    lengths = np.array([len(table) for table in flat], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]])
    sums = [np.concatenate([[0], np.cumsum(table, dtype=np.uint32)]) for table in flat]
    return _Packed(
        starts=starts.astype(np.int64).reshape(shape),
        lengths=lengths.reshape(shape),
        minimums=np.array([level.minimums for level in tables], np.int64),
        cumulative=np.concatenate(sums).astype(np.uint32),
    )


@kernel
def _put(
    states: States,
    words: Words,
    symbols: Symbols,
    levels: Integers,
    tables: _Packed,
) -> None:
    for i in range(len(symbols)):
        level = levels[i]
        for c in range(symbols.shape[1]):
            if tables.lengths[level, c] == 1:  # one possible symbol takes no space
                continue
            first = tables.starts[level, c] - tables.minimums[level, c]
            for k in range(symbols.shape[2]):
                place = first + symbols[i, c, k]
                left = np.uint64(tables.cumulative[place])
                put(states[i], words[i], left, np.uint64(tables.cumulative[place + 1]) - left)


@kernel
def _take(
    states: States,
    words: Words,
    symbols: Symbols,
    levels: Integers,
    tables: _Packed,
) -> npt.NDArray[np.bool_]:
    failed = np.zeros(len(symbols), np.bool_)
    for i in range(len(symbols)):
        level = levels[i]
        for c in range(symbols.shape[1]):
            start, length = tables.starts[level, c], tables.lengths[level, c]
            for k in range(symbols.shape[2]):
                place = start
                if length > 1 and not failed[i]:
                    place = find(states[i], words[i], tables.cumulative, start, length)
                    failed[i] = place < 0
                symbols[i, c, k] = max(0, place - start) + tables.minimums[level, c]
    return failed
