"""Large images tile by tile: transforms that see beyond their tile, a payload for each tile.

A transform is given a tile's surroundings as far as they reach its result, so what the tiles make
is what the whole image would, without seams, in memory for one tile (docs/format.md, "Tiles").
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from kompakt_codec.entropy import EntropyModel, LatentShape, Levels, Payloads, Symbols
from kompakt_codec.errors import InvalidStreamError, StreamError
from kompakt_codec.interruption import check_interruption
from kompakt_codec.varint import pack_varint, read_varint

LARGEST_TILE = 1024
"""Pixels a side, of which one payload may tell."""
TRANSFORMED_TILE = 512
"""Pixels a side that the transforms are given at a time, beside their surroundings."""
_LENGTH = {"least": 0, "most_bytes": 4}

_Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tile:
    """Latents from top to bottom and from left to right, the ends not included."""

    top: int
    bottom: int
    left: int
    right: int

    def widened(self, reach: int, size: Sequence[int]) -> "Tile":
        """With so many more on each side as latents (h, w) have."""
        return Tile(
            max(0, self.top - reach),
            min(size[0], self.bottom + reach),
            max(0, self.left - reach),
            min(size[1], self.right + reach),
        )

    def of(self, array: _Array, axis: int, scale: int = 1) -> _Array:
        """Its part of an array whose axes ``axis`` and the next are rows and columns."""
        rows = slice(self.top * scale, self.bottom * scale)
        columns = slice(self.left * scale, self.right * scale)
        return array[(*(slice(None),) * axis, rows, columns)]

    def within(self, other: "Tile") -> "Tile":
        """Where it lies in a tile that holds it."""
        top, left = other.top, other.left
        return Tile(self.top - top, self.bottom - top, self.left - left, self.right - left)

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) in latents."""
        return self.bottom - self.top, self.right - self.left


def tiles_of(size: Sequence[int], largest: int) -> list[Tile]:
    """Latents (h, w) in rows of tiles of nearly equal size, none over ``largest`` a side."""
    rows, columns = (list(_cuts(length, largest)) for length in size)
    return [Tile(*row, *column) for row in rows for column in columns]


def _each(tiles: Sequence[Tile]) -> Iterator[Tile]:
    """Tiles, as long as somebody waits for them."""
    for tile in tiles:
        check_interruption()
        yield tile


def _cuts(length: int, largest: int) -> Iterator[tuple[int, int]]:
    count = -(-length // largest)
    return pairwise(length * i // count for i in range(count + 1))


@dataclass(frozen=True, slots=True)
class Plane:
    """An array of which two axes, ``axis`` and the next, are rows and columns.

    ``scale`` of them belong to a latent.
    """

    array: _Array
    axis: int
    scale: int


def by_tiles(
    transform: Callable[[_Array], _Array],
    source: Plane,
    target: Plane,
    size: Sequence[int],
    *,
    largest: int,
    reach: int,
) -> None:
    """Fill ``target`` with what ``transform`` makes of ``source``, whose latents are (h, w)."""
    for tile in _each(tiles_of(size, largest)):
        seen = tile.widened(reach, size)
        made = transform(np.ascontiguousarray(seen.of(source.array, source.axis, source.scale)))
        part = tile.within(seen).of(made, target.axis, target.scale)
        tile.of(target.array, target.axis, target.scale)[:] = part


def encode_tiles(
    entropy: EntropyModel, symbols: Symbols, levels: Levels, *, largest: int
) -> list[bytes]:
    """Code symbols (N, C, h, w), each image at its level, to payloads of a tile or of many."""
    tiles = tiles_of(symbols.shape[2:], largest)
    if len(tiles) == 1:
        return entropy.encode(symbols, levels)
    made = [
        entropy.encode(np.ascontiguousarray(tile.of(symbols, 2)), levels) for tile in _each(tiles)
    ]
    return [_joined(parts) for parts in zip(*made, strict=True)]


def decode_tiles(
    entropy: EntropyModel,
    payloads: Payloads,
    levels: Levels,
    shape: LatentShape,
    *,
    largest: int,
) -> list[Symbols | StreamError]:
    """The inverse of ``encode_tiles``: symbols of ``shape`` (C, h, w), or what is wrong."""
    tiles = tiles_of(shape[1:], largest)
    if len(tiles) == 1:
        return entropy.decode(payloads, levels, shape)
    return [
        _decoded(entropy, payload, level, shape, tiles)
        for payload, level in zip(payloads, levels, strict=True)
    ]


def _decoded(
    entropy: EntropyModel, payload: bytes, level: float, shape: LatentShape, tiles: Sequence[Tile]
) -> Symbols | StreamError:
    try:
        parts = _split(payload, len(tiles))
    except StreamError as exc:
        return exc
    symbols = np.empty(shape, np.int16)
    for tile, part in zip(_each(tiles), parts, strict=True):
        [item] = entropy.decode([part], [level], (shape[0], *tile.size))
        if isinstance(item, StreamError):
            return item
        tile.of(symbols, 1)[:] = item
    return symbols


def _joined(parts: Sequence[bytes]) -> bytes:
    lengths = (pack_varint(len(part), **_LENGTH) for part in parts[:-1])
    return b"".join([*lengths, *parts])


def _split(payload: bytes, count: int) -> list[bytes]:
    """The payloads of so many tiles. Raises InvalidStreamError."""
    position, lengths = 0, []
    for _ in range(count - 1):
        length, position = read_varint(
            payload, position, len(payload), "length of a tile", **_LENGTH
        )
        lengths.append(length)
    lengths.append(len(payload) - position - sum(lengths))
    if lengths[-1] < 0:
        raise InvalidStreamError("the tiles are longer than the payload")
    parts = []
    for length in lengths:
        parts.append(payload[position : position + length])
        position += length
    return parts
