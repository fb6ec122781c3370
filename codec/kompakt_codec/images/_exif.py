"""EXIF blocks made to suit pixels that were turned upright and are kept without a thumbnail.

A block is a TIFF structure, whose values lie where offsets say. It is changed in place, so that
all else stays as it was to the byte: makers' notes too, whose offsets nobody but them knows.
"""

import struct
from collections.abc import Iterator

_ORIENTATION, _EXIF_DIRECTORY, _COLOUR_SPACE = 0x0112, 0x8769, 0xA001
_THUMBNAIL, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_SHORT = 3
_UPRIGHT, _SRGB = 1, 1
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ENTRY_BYTES = 12


def settle_exif(block: bytes, *, now_srgb: bool) -> bytes:
    """The block with the orientation 1 and without a thumbnail; empty if it is broken.

    With ``now_srgb`` its colour space, where it names one, becomes sRGB.
    """
    order = _ORDERS.get(block[:4])
    if order is None:
        return b""
    try:
        return bytes(_settle(_Block(block, order), now_srgb=now_srgb))
    except (struct.error, IndexError):
        return b""


class _Block:
    """The bytes of a block, read and written as numbers."""

    def __init__(self, block: bytes, order: str) -> None:
        self.data = bytearray(block)
        self._order = order

    def u16(self, at: int) -> int:
        return int(struct.unpack_from(self._order + "H", self.data, at)[0])

    def u32(self, at: int) -> int:
        return int(struct.unpack_from(self._order + "I", self.data, at)[0])

    def entries(self, directory: int) -> Iterator[tuple[int, int]]:
        """The tag of each entry of a directory, and where the entry lies."""
        for i in range(self.u16(directory)):
            at = directory + 2 + _ENTRY_BYTES * i
            yield self.u16(at), at

    def end(self, directory: int) -> int:
        """Where the link to the next directory lies."""
        return directory + 2 + _ENTRY_BYTES * self.u16(directory)

    def write_short(self, at: int, tag: int, value: int) -> None:
        """Make an entry one of a single SHORT."""
        struct.pack_into(self._order + "HHIHH", self.data, at, tag, _SHORT, 1, value, 0)


def _settle(block: _Block, *, now_srgb: bool) -> bytearray:
    first = block.u32(4)
    for tag, at in block.entries(first):
        if tag == _ORIENTATION:
            block.write_short(at, tag, _UPRIGHT)
        if tag == _EXIF_DIRECTORY and now_srgb:
            _name_srgb(block, block.u32(at + 8))
    link = block.end(first)
    second = block.u32(link)
    if second:
        block.data[link : link + 4] = bytes(4)
        _drop_thumbnail(block, second)
    return block.data


def _name_srgb(block: _Block, directory: int) -> None:
    for tag, at in block.entries(directory):
        if tag == _COLOUR_SPACE:
            block.write_short(at, tag, _SRGB)


def _drop_thumbnail(block: _Block, directory: int) -> None:
    """Cut the thumbnail off where it lies last, as it mostly does; blank it elsewhere."""
    values = {tag: block.u32(at + 8) for tag, at in block.entries(directory)}
    start, length = values.get(_THUMBNAIL, 0), values.get(_THUMBNAIL_LENGTH, 0)
    end = start + length
    if start < 8 or end > len(block.data):
        return
    if end == len(block.data):
        del block.data[start:]
    else:
        block.data[start:end] = bytes(length)
