"""The entropy path of imported hyperpriors: side information, then latents by their scales.

``GaussianEntropy`` codes z by static tables, and each latent by one of a few frozen tables, which
an exact integer network chooses from z (docs/format.md, "Gaussian payload").
"""

import hashlib
import struct
from collections.abc import Mapping
from functools import cached_property
from typing import Self

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
from kompakt_codec.range_coder import PRECISION, RangeDecoders, RangeEncoders
from kompakt_codec.residual_coder import MAX_SYMBOL, MOST_BITS
from kompakt_codec.scale_coder import ScaleTables
from kompakt_codec.scale_network import ScaleNetwork
from kompakt_codec.table_coder import TableEntropy

FOLD = 4
"""How many times smaller z is than y, along each side."""
_SIDE, _RESIDUAL = "side.", "residual."


class GaussianEntropy:
    """Codes symbols (16 M + S, h, w): y (M, 4h, 4w) folded, then z (S, h, w).

    ``side`` holds z's tables, for a shape (S, 1, 1). Raises CheckpointError if the parts do not fit
    each other.
    """

    levels = 1
    has_between = False

    def __init__(self, *, network: ScaleNetwork, side: TableEntropy, scales: ScaleTables) -> None:
        if side.channels != network.side_channels or side.levels != 1:
            raise CheckpointError("the network of scales is for other side information")
        self.network, self.side, self.scales = network, side, scales
        self._num_folded = network.channels * FOLD**2
        self.channels = self._num_folded + side.channels

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the entropy path, 32 bytes (docs/format.md, "Fingerprint")."""
        digest = hashlib.sha256(b"kompakt entropy path 5\0")
        digest.update(struct.pack("<2I", self.side.channels, len(self.scales.thresholds) + 1))
        digest.update(self.network.to_bytes())
        digest.update(self.scales.thresholds.astype("<i4").tobytes())
        digest.update(self.scales.tables.fingerprint)
        digest.update(self.side.fingerprint)
        return digest.digest()

    def quantise(self, latents: npt.NDArray[np.float32], levels: Levels) -> Symbols:
        """Round latents (N, C, h, w) to the nearest symbols."""
        y = np.rint(latents[:, : self._num_folded])
        y = np.fmin(np.fmax(y, -MAX_SYMBOL), MAX_SYMBOL)  # also what is no number
        z = self.side.quantise(latents[:, self._num_folded :], levels)
        return np.concatenate([y.astype(np.int16), z], axis=1)

    def encode(self, symbols: Symbols, levels: Levels) -> list[bytes]:
        """Code symbols (N, C, h, w) to payloads."""
        payloads: list[bytes] = []
        for part in chunks(len(symbols), symbols.shape[1:]):
            payloads += self._encode(symbols[part], levels[part])
        return payloads

    def _encode(self, symbols: Symbols, levels: Levels) -> list[bytes]:
        y, z = symbols[:, : self._num_folded], symbols[:, self._num_folded :]
        encoders = RangeEncoders.start(len(symbols), MOST_BITS * y[0].size + PRECISION * z[0].size)
        self.side.put(encoders, z, levels)
        values = np.ascontiguousarray(_unfolded(y), np.int32).reshape(len(y), -1)
        self.scales.encode(encoders, values, self._rows(z))
        return encoders.finish()

    def decode(
        self, payloads: Payloads, levels: Levels, shape: LatentShape
    ) -> list[Symbols | StreamError]:
        """Recover symbols of ``shape`` (C, h, w) from each payload, or the error that it is."""
        side = (self.side.channels, *shape[1:])
        limit = max_payload((self._num_folded, *shape[1:]), side)
        results: list[Symbols | StreamError] = []
        for part in chunks(len(payloads), shape):
            results += decode_each(
                payloads[part], levels[part], limit, lambda d, q: self._take(d, q, side)
            )
        return results

    def _take(self, decoders: RangeDecoders, levels: Levels, side: LatentShape) -> Decoded:
        z, failed = self.side.take(decoders, levels, side)
        values = self.scales.decode(decoders, self._rows(z), failed)
        height, width = (FOLD * n for n in side[1:])
        y = values.reshape(len(z), self.network.channels, height, width).astype(np.int16)
        return np.concatenate([_folded(y), z], axis=1), failed

    def _rows(self, z: Symbols) -> npt.NDArray[np.int64]:
        """Each number of y's table, (N, M * 4h * 4w), from z (N, S, h, w)."""
        scales = np.ascontiguousarray(self.network(z))
        return self.scales.rows(scales).reshape(len(z), -1)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint holds: the network, the thresholds and both kinds of tables."""
        made = self.network.tensors()
        made["thresholds"] = torch.from_numpy(self.scales.thresholds)
        for prefix, part in ((_SIDE, self.side), (_RESIDUAL, TableEntropy([self.scales.tables]))):
            made.update({prefix + key: value for key, value in part.tensors().items()})
        return made

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> Self:
        """The inverse of ``tensors``. Raises CheckpointError."""
        network = ScaleNetwork.from_tensors(tensors)
        thresholds = tensor_array(tensors, "thresholds", torch.int32)
        residual = _tables(tensors, _RESIDUAL, len(thresholds) + 1)
        return cls(
            network=network,
            side=_tables(tensors, _SIDE, network.side_channels),
            scales=ScaleTables(residual.tables[0], thresholds),
        )


def _tables(tensors: Mapping[str, torch.Tensor], prefix: str, count: int) -> TableEntropy:
    parts = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return TableEntropy.from_tensors(parts, shape=(count, 1, 1), levels=1)


def _unfolded(y: Symbols) -> Symbols:
    """(N, 16 M, h, w) to (N, M, 4h, 4w), in the order of PyTorch's ``pixel_shuffle``."""
    n, folded, height, width = y.shape
    parts = y.reshape(n, folded // FOLD**2, FOLD, FOLD, height, width).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, folded // FOLD**2, FOLD * height, FOLD * width)


def _folded(y: Symbols) -> Symbols:
    """The inverse of ``_unfolded``."""
    n, channels, height, width = y.shape
    size = height // FOLD, width // FOLD
    parts = y.reshape(n, channels, size[0], FOLD, size[1], FOLD).transpose(0, 1, 3, 5, 2, 4)
    return parts.reshape(n, channels * FOLD**2, *size)
