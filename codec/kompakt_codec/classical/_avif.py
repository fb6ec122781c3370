"""AVIF files without what follows from the image's shape: their AV1 still picture is left.

Shapes are (height, width, channels). The container (AVIF 1.1, ISO/IEC 23008-12) is written anew for
the decoder, which therefore never follows a stream's own boxes.
"""

import struct

from kompakt_codec.classical._files import Shape, decode_file
from kompakt_codec.errors import InvalidStreamError
from kompakt_codec.images import Pixels
from kompakt_codec.images.av1 import (
    DELIMITER,
    FRAME,
    FRAME_HEADER,
    SEQUENCE_HEADER,
    TILES,
    read_sequence_header,
)
from kompakt_codec.varint import read_varint

_BRANDS = b"avif" + bytes(4) + b"avifmif1miaf"
_SRGB = struct.pack(">4sHHHB", b"nclx", 1, 13, 6, 0x80)
"""BT.709 primaries, sRGB's transfer, BT.601's matrix, full range: what Pillow writes."""
_ESSENTIAL = 0x80
_PLANES = {0: 0x0C, 1: 0}
"""The third byte of av1C for colours by AV1's profile: 4:2:0, or 4:4:4."""
_GREY = 0x1C
_SIZE = {"least": 0, "most_bytes": 4}


def strip_avif(file: bytes) -> bytes:
    """The AV1 data of a file that the baseline wrote: all that follows the last box's head."""
    return file[file.index(b"mdat") + 4 :]


def decode_avif(obus: bytes, shape: Shape) -> Pixels:
    """Decode a stripped AVIF file. Raises InvalidStreamError or CorruptStreamError."""
    return decode_file("avif", _restored(obus, shape), shape)


def _restored(obus: bytes, shape: Shape) -> bytes:
    height, width, channels = shape
    profile, level = _checked_sequence(obus, shape)
    planes = _PLANES[profile] if channels == 3 else _GREY
    properties = (
        _full(b"ispe", struct.pack(">II", width, height)),
        _full(b"pixi", bytes([channels, *channels * [8]])),
        _box(b"av1C", bytes([0x81, profile << 5 | level, planes, 0])),
        _box(b"colr", _SRGB),
    )
    links = struct.pack(">IHB4B", 1, 1, 4, 1, 2, 3 | _ESSENTIAL, 4)
    item = _full(b"infe", struct.pack(">HH4sx", 1, 0, b"av01"), version=2)
    brands = _box(b"ftyp", _BRANDS)

    def meta(offset: int) -> bytes:
        place = struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, offset, len(obus))
        return _full(
            b"meta",
            _full(b"hdlr", struct.pack(">4x4s13x", b"pict"))
            + _full(b"pitm", struct.pack(">H", 1))
            + _full(b"iloc", place)
            + _full(b"iinf", struct.pack(">H", 1) + item)
            + _box(b"iprp", _box(b"ipco", b"".join(properties)) + _full(b"ipma", links)),
        )

    return brands + meta(len(brands) + len(meta(0)) + 8) + _box(b"mdat", obus)


def _box(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), name) + data


def _full(name: bytes, data: bytes, *, version: int = 0) -> bytes:
    return _box(name, struct.pack(">I", version << 24) + data)


def _checked_sequence(obus: bytes, shape: Shape) -> tuple[int, int]:
    """AV1's profile and level of one still picture of this shape.

    Raises InvalidStreamError for anything else: a decoder would take memory for its size.
    """
    position, sequences, frames = 0, [], 0
    while position < len(obus):
        head = obus[position]
        if head & 0b1000_0111 != 0b10:
            raise InvalidStreamError("an AV1 unit without its size, or of a layer")
        size, start = read_varint(obus, position + 1, len(obus), "size of an AV1 unit", **_SIZE)
        position = start + size
        if position > len(obus):
            raise InvalidStreamError("an AV1 unit is longer than the payload")
        kind = head >> 3
        if kind == SEQUENCE_HEADER:
            sequences.append(obus[start:position])
        elif kind in (FRAME, FRAME_HEADER):
            frames += 1
        elif kind not in (DELIMITER, TILES):
            raise InvalidStreamError(f"an AV1 unit of type {kind} in a still picture")
    if len(sequences) != 1 or frames != 1:
        raise InvalidStreamError(f"{frames} AV1 frames and {len(sequences)} headers, not 1 of each")
    return _read_sequence(sequences[0], shape)


def _read_sequence(data: bytes, shape: Shape) -> tuple[int, int]:
    header = read_sequence_header(data)
    if not header.is_still or header.profile not in _PLANES or header.is_deep:
        raise InvalidStreamError("not an AV1 still picture of 8 bits, 4:2:0 or 4:4:4")
    if header.is_grey != (shape[2] == 1):
        made, wanted = ("grey", "colour") if header.is_grey else ("colour", "grey")
        raise InvalidStreamError(f"an AV1 picture in {made} for a {wanted} image")
    if header.size != shape[:2]:
        size = f"{header.height}x{header.width}"
        raise InvalidStreamError(f"an AV1 picture of {size}, not {shape[0]}x{shape[1]}")
    return header.profile, header.level
