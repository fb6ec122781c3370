"""Integer probability tables and the range coder over them (docs/format.md, "Payload").

The coder is constriction's; the tables are ours, exact integers on both sides, and so is the
termination, which saves the bytes that a word-aligned end costs.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import constriction
import numpy as np
import numpy.typing as npt
import torch

from kompakt_codec.errors import (
    CheckpointError,
    CorruptStreamError,
    InvalidStreamError,
    StreamError,
)

PRECISION = 24
MAX_TABLE_LENGTH = 4096
MAX_SYMBOLS = 1 << 26

Symbols = npt.NDArray[np.int16]
Frequencies = npt.NDArray[np.uint32]
LatentShape = tuple[int, int, int]
Payloads = Sequence[bytes]


class EntropyModel(Protocol):
    """The entropy path of a checkpoint: symbols to payloads and back, in batches."""

    @property
    def channels(self) -> int:
        """C of the symbols (N, C, h, w)."""

    @property
    def levels(self) -> int:
        """How many rate levels have probabilities of their own."""

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of all that decides how a payload becomes symbols, 32 bytes."""

    def clip(self, latents: npt.NDArray[np.float32], levels: Sequence[int]) -> Symbols:
        """Round latents (N, C, h, w) to the nearest symbols that can be coded."""

    def encode(self, symbols: Symbols, levels: Sequence[int]) -> list[bytes]:
        """Code int16 symbols (N, C, h, w), each image at its level, to payloads."""

    def decode(
        self, payloads: Payloads, levels: Sequence[int], shape: LatentShape
    ) -> list[Symbols | StreamError]:
        """Recover symbols of ``shape`` (C, h, w) from each payload, or say what is wrong with it.

        Most bytes give some symbols, right or wrong: the frame's check tells.
        """

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint holds of it, by name."""


@dataclass(frozen=True, kw_only=True)
class EntropyTables:
    """One table of integer frequencies for each channel of the latents.

    ``shape`` is (C, h, w). ``minimums`` holds C integers, the least symbol of each channel, and
    ``frequencies`` C arrays of uint32, each >= 1 and with the sum 2**24.

    Raises CheckpointError if they do not fit each other.
    """

    shape: LatentShape
    minimums: Sequence[int]
    frequencies: Sequence[Frequencies]

    def __post_init__(self) -> None:
        channels = self.shape[0]
        if min(self.shape) < 1 or self.num_symbols > MAX_SYMBOLS:
            raise CheckpointError(f"latents of shape {self.shape} are out of range")
        if len(self.minimums) != channels or len(self.frequencies) != channels:
            raise CheckpointError(f"{channels} channels need as many minimums and tables")
        for minimum, table in zip(self.minimums, self.frequencies, strict=True):
            _check_table(minimum, table)

    @property
    def num_symbols(self) -> int:
        """Symbols in one image: C * h * w."""
        return int(np.prod(self.shape, dtype=np.int64))

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the entropy path, 32 bytes (docs/format.md, "Fingerprint")."""
        digest = hashlib.sha256(b"kompakt entropy path 1\0" + struct.pack("<3I", *self.shape))
        for minimum, table in zip(self.minimums, self.frequencies, strict=True):
            digest.update(struct.pack("<iI", minimum, len(table)))
            digest.update(table.astype("<u4").tobytes())
        return digest.digest()

    def clip(self, latents: npt.NDArray[np.float32]) -> Symbols:
        """Round latents (N, C, h, w) to the nearest symbols that the tables hold."""
        low = np.asarray(self.minimums, np.float32)[:, None, None]
        high = low + np.asarray([len(t) - 1 for t in self.frequencies], np.float32)[:, None, None]
        return np.clip(np.rint(latents), low, high).astype(np.int16)


def _check_table(minimum: int, table: Frequencies) -> None:
    if table.dtype != np.uint32 or table.ndim != 1 or not 1 <= len(table) <= MAX_TABLE_LENGTH:
        raise CheckpointError(f"a table holds 1 to {MAX_TABLE_LENGTH} uint32 frequencies")
    if minimum < -(1 << 15) or minimum + len(table) > 1 << 15:
        raise CheckpointError(f"symbols from {minimum} on do not fit 16 bits")
    if table.min() < 1 or int(table.sum(dtype=np.uint64)) != 1 << PRECISION:
        raise CheckpointError(f"a table's frequencies must be >= 1 with the sum 2**{PRECISION}")


class SymbolCoder:
    """The two inverse functions between one image's symbols and a payload, or a part of one."""

    def __init__(self, tables: EntropyTables) -> None:
        self.tables = tables
        self._models = [_coder_model(table) for table in tables.frequencies]
        self._minimums = np.asarray(tables.minimums, np.int32)[:, None]

    def encode(self, symbols: Symbols) -> bytes:
        """Code int16 symbols (C, h, w), each within its table."""
        encoder = constriction.stream.queue.RangeEncoder()
        self.put(encoder, symbols)
        return terminate(encoder)

    def put(self, encoder: constriction.stream.queue.RangeEncoder, symbols: Symbols) -> None:
        """Code int16 symbols (C, h, w) after what the encoder holds."""
        indices = symbols.reshape(len(self._models), -1) - self._minimums
        if indices.shape[1] == 1:  # plain integers cost a fifth of one-element arrays
            for index, model in zip(indices[:, 0].tolist(), self._models, strict=True):
                if model is not None:
                    encoder.encode(index, model)
        else:
            for row, model in zip(indices, self._models, strict=True):
                if model is not None:
                    encoder.encode(row, model)

    def decode(self, payload: bytes, shape: LatentShape) -> Symbols:
        """Recover symbols of ``shape``; most bytes give some symbols, right or wrong.

        Raises InvalidStreamError for a payload longer than any encoder writes, CorruptStreamError
        for one that no symbols lead to.
        """
        opened = open_payload(payload, 8 + 3 * int(np.prod(shape, dtype=np.int64)))
        if isinstance(opened, InvalidStreamError):
            raise opened
        return self.take(opened, shape)

    def take(self, decoder: constriction.stream.queue.RangeDecoder, shape: LatentShape) -> Symbols:
        """The next symbols (C, h, w) of a decoder. Raises CorruptStreamError."""
        try:
            indices = self._take_indices(decoder, shape[1] * shape[2])
        except AssertionError as exc:  # constriction's word for a number outside every symbol
            raise CorruptStreamError("no symbols lead to this payload") from exc
        return (indices + self._minimums).astype(np.int16).reshape(shape)

    def _take_indices(
        self, decoder: constriction.stream.queue.RangeDecoder, run_length: int
    ) -> npt.NDArray[np.int32]:
        if run_length == 1:
            flat = [0 if m is None else decoder.decode(m) for m in self._models]
            return np.asarray(flat, np.int32)[:, None]
        indices = np.zeros((len(self._models), run_length), np.int32)
        for row, model in zip(indices, self._models, strict=True):
            if model is not None:
                row[:] = decoder.decode(model, run_length)
        return indices


class TableEntropy:
    """Static tables as an entropy path: one set for each rate level."""

    def __init__(self, tables: Sequence[EntropyTables]) -> None:
        if len({t.shape for t in tables}) != 1:
            raise CheckpointError("every level needs tables for latents of one shape")
        self.tables = list(tables)
        self._coders = [SymbolCoder(t) for t in tables]

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

    def coder(self, level: int) -> SymbolCoder:
        """The coder of one level."""
        return self._coders[level]

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the entropy path (docs/format.md, "Fingerprint")."""
        if len(self.tables) == 1:
            return self.tables[0].fingerprint
        digest = hashlib.sha256(b"kompakt entropy path 3\0")
        for tables in self.tables:
            digest.update(tables.fingerprint)
        return digest.digest()

    def clip(self, latents: npt.NDArray[np.float32], levels: Sequence[int]) -> Symbols:
        """Round latents (N, C, h, w) to the nearest symbols that each image's tables hold."""
        clipped = [self.tables[q].clip(y[None])[0] for y, q in zip(latents, levels, strict=True)]
        return np.stack(clipped)

    def encode(self, symbols: Symbols, levels: Sequence[int]) -> list[bytes]:
        """Code symbols (N, C, h, w) to payloads."""
        return [self._coders[q].encode(one) for one, q in zip(symbols, levels, strict=True)]

    def decode(
        self, payloads: Payloads, levels: Sequence[int], shape: LatentShape
    ) -> list[Symbols | StreamError]:
        """Recover symbols of ``shape`` from each payload, or the error that it is."""
        pairs = zip(payloads, levels, strict=True)
        return [_decode_or_error(self._coders[q], payload, shape) for payload, q in pairs]

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


def tensor_array(
    tensors: Mapping[str, torch.Tensor], key: str, kind: torch.dtype
) -> npt.NDArray[Any]:
    """A checkpoint's tensor as an array. Raises CheckpointError if it is missing or another."""
    tensor = tensors.get(key)
    if tensor is None or tensor.dtype != kind:
        raise CheckpointError(f"entropy.{key} must be a tensor of {kind}")
    return tensor.numpy()


def _decode_or_error(
    coder: SymbolCoder, payload: bytes, shape: LatentShape
) -> Symbols | StreamError:
    try:
        return coder.decode(payload, shape)
    except StreamError as exc:
        return exc


def _coder_model(table: Frequencies) -> constriction.stream.model.Categorical | None:
    """The table for constriction, or None if it has one symbol, which needs no coding.

    constriction gives each symbol one slot and shares out the rest in proportion to float64
    weights. Weights of frequency - 1 have the sum 2**24 - n, so its scale is exactly 1 and all
    its arithmetic is on small integers: the table that it uses is this one, bit for bit.
    """
    if len(table) == 1:
        return None
    weights = table.astype(np.float64) - 1.0
    return constriction.stream.model.Categorical(weights, perfect=False)


def open_payload(
    payload: bytes, max_bytes: int
) -> constriction.stream.queue.RangeDecoder | InvalidStreamError:
    """A decoder at the start of a payload, or the error of one longer than any encoder writes."""
    if len(payload) > max_bytes:
        return InvalidStreamError(
            f"a payload of {len(payload)} bytes is over the model's {max_bytes}"
        )
    words = np.frombuffer(payload + bytes(-len(payload) % 4), ">u4").astype(np.uint32)
    return constriction.stream.queue.RangeDecoder(words)


def terminate(encoder: constriction.stream.queue.RangeEncoder) -> bytes:
    """The shortest payload in the encoder's final interval (docs/format.md, "Termination")."""
    num_words, (lower, span) = encoder.pos()
    words = encoder.get_compressed().astype(">u4").tobytes()
    grid_bits = 32 * (num_words + 2)
    emitted = int.from_bytes(words[: 4 * num_words], "big")
    low = (emitted << 64) | lower
    sealed = _on_grid(words, grid_bits)
    if not low <= sealed < low + span:
        # constriction held words back for a carry that its seal then resolved upwards.
        low -= 1 << 64
    last = low + span - 1
    num_bytes = max(0, (grid_bits - (low ^ last).bit_length()) // 8)
    while True:
        shift = grid_bits - 8 * num_bytes
        value = -(-low >> shift)
        if value << shift <= last:
            return bytes(value.to_bytes(num_bytes, "big").rstrip(b"\0"))
        num_bytes += 1


def _on_grid(words: bytes, grid_bits: int) -> int:
    shift = grid_bits - 8 * len(words)
    value = int.from_bytes(words, "big")
    return value << shift if shift >= 0 else value >> -shift


def frequencies_from_counts(counts: npt.NDArray[np.int64]) -> Frequencies:
    """Quantise symbol counts (n,) to frequencies >= 1 with the sum 2**24, uint32.

    Every symbol first gets one slot, so that none is impossible; the rest is shared out by
    largest remainder, which keeps the loss against the ideal code below 2**-12 bits a symbol.
    """
    num_symbols = len(counts)
    if not 1 <= num_symbols <= MAX_TABLE_LENGTH or counts.min() < 0 or counts.sum() < 1:
        raise ValueError(f"counts must be >= 0, not all 0, and 1 to {MAX_TABLE_LENGTH} long")
    free = (1 << PRECISION) - num_symbols
    share = counts * free
    floors = share // counts.sum()
    remainders = share - floors * counts.sum()
    missing = free - int(floors.sum())
    floors[np.argsort(-remainders, kind="stable")[:missing]] += 1
    return np.asarray(floors + 1, np.uint32)
