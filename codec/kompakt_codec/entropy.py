"""What every entropy path offers, and integer probability tables (docs/format.md, "Payload")."""

import hashlib
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from kompakt_codec.errors import (
    CheckpointError,
    CorruptStreamError,
    InvalidStreamError,
    StreamError,
)
from kompakt_codec.range_coder import PRECISION, RangeDecoders

MAX_TABLE_LENGTH = 4096
MAX_SYMBOLS = 1 << 26
_CHUNK_SYMBOLS = 1 << 17
"""Symbols coded at a time: what bounds the memory of their networks."""

Symbols = npt.NDArray[np.int16]
Frequencies = npt.NDArray[np.uint32]
LatentShape = tuple[int, int, int]
Payloads = Sequence[bytes]
Levels = Sequence[float]
"""A rate level for each image: whole, or in steps of 1 / LEVEL_STEPS where there are any."""


class EntropyModel(Protocol):
    """The entropy path of a checkpoint: symbols to payloads and back, in batches."""

    @property
    def channels(self) -> int:
        """C of the symbols (N, C, h, w)."""

    @property
    def levels(self) -> int:
        """How many rate levels have probabilities of their own."""

    @property
    def has_between(self) -> bool:
        """Whether there are levels between two as well."""

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of all that decides how a payload becomes symbols, 32 bytes."""

    def quantise(self, latents: npt.NDArray[np.float32], levels: Levels) -> Symbols:
        """Latents (N, C, h, w) to the nearest symbols that can be coded."""

    def encode(self, symbols: Symbols, levels: Levels) -> list[bytes]:
        """Code int16 symbols (N, C, h, w), each image at its level, to payloads."""

    def decode(
        self, payloads: Payloads, levels: Levels, shape: LatentShape
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
        return math.prod(self.shape)

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the entropy path, 32 bytes (docs/format.md, "Fingerprint")."""
        digest = hashlib.sha256(b"kompakt entropy path 1\0" + struct.pack("<3I", *self.shape))
        for minimum, table in zip(self.minimums, self.frequencies, strict=True):
            digest.update(struct.pack("<iI", minimum, len(table)))
            digest.update(table.astype("<u4").tobytes())
        return digest.digest()


def _check_table(minimum: int, table: Frequencies) -> None:
    if table.dtype != np.uint32 or table.ndim != 1 or not 1 <= len(table) <= MAX_TABLE_LENGTH:
        raise CheckpointError(f"a table holds 1 to {MAX_TABLE_LENGTH} uint32 frequencies")
    if minimum < -(1 << 15) or minimum + len(table) > 1 << 15:
        raise CheckpointError(f"symbols from {minimum} on do not fit 16 bits")
    if table.min() < 1 or int(table.sum(dtype=np.uint64)) != 1 << PRECISION:
        raise CheckpointError(f"a table's frequencies must be >= 1 with the sum 2**{PRECISION}")


Decoded = tuple[Symbols, npt.NDArray[np.bool_]]
"""Symbols (N, C, h, w), and which (N,) are those of a payload that has none."""


def chunks(count: int, shape: Sequence[int]) -> Iterator[slice]:
    """Images of symbols of ``shape`` in parts whose networks' memory is bounded."""
    most = max(1, _CHUNK_SYMBOLS // math.prod(shape))
    return (slice(start, start + most) for start in range(0, count, most))


def decode_each(
    payloads: Payloads,
    levels: Levels,
    limit: int,
    decode: Callable[[RangeDecoders, Levels], Decoded],
) -> list[Symbols | StreamError]:
    """Decode those payloads together that some encoder may have written, at most ``limit`` bytes.

    ``decode`` takes their decoders and levels. Returns each one's symbols (C, h, w) or error.
    """
    results: list[Symbols | StreamError] = [_too_long(payload, limit) for payload in payloads]
    fit = [i for i, payload in enumerate(payloads) if len(payload) <= limit]
    if not fit:
        return results
    decoders = RangeDecoders.open([payloads[i] for i in fit])
    symbols, failed = decode(decoders, [levels[i] for i in fit])
    for i, one, is_failed in zip(fit, symbols, failed.tolist(), strict=True):
        results[i] = (
            CorruptStreamError("no symbols lead to this payload: it was cut or changed")
            if is_failed
            else one
        )
    return results


def _too_long(payload: bytes, limit: int) -> InvalidStreamError:
    return InvalidStreamError(f"a payload of {len(payload)} bytes is over the model's {limit}")


def max_payload(latents: LatentShape, side: LatentShape) -> int:
    """Bytes beyond which no encoder's payload is, for a hyperprior's y and z of these shapes.

    A latent takes at most 24 bits and an escape of 21, a number of z at most 24.
    """
    return 16 + 8 * math.prod(latents) + 4 * math.prod(side)


def tensor_array(
    tensors: Mapping[str, torch.Tensor], key: str, kind: torch.dtype
) -> npt.NDArray[Any]:
    """A checkpoint's tensor, of an axis at least. Raises CheckpointError if it lacks or differs."""
    tensor = tensors.get(key)
    if tensor is None or tensor.dtype != kind or not tensor.ndim:
        raise CheckpointError(f"entropy.{key} must be a tensor of {kind}, of an axis at least")
    return tensor.numpy()


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
