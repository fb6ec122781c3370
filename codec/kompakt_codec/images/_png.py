"""What Pillow makes too little of in PNG files: their profile, and greys of few bits."""

import struct
import zlib

from PIL.PngImagePlugin import PngImageFile

from kompakt_codec.images._colour import MAX_PROFILE_BYTES

_SIGNATURE_BYTES = 8
_AROUND = 12
"""Bytes of a chunk beside its data: length, name and checksum."""
_DEFLATE = 0
_GREY_BITS = {"L;2": 2, "L;4": 4}


def split_profile(file: bytes) -> tuple[bytes, bytes]:
    """A PNG file without its profile, and that; empty if there is none or it is broken.

    Pillow refuses a file whose profile cannot be read, or is longer than its limit for texts.
    One over its limit is cut just beyond. A chunk with a wrong checksum stays in the file.
    """
    if b"iCCP" not in file:
        return file, b""
    position, profile = _SIGNATURE_BYTES, b""
    parts = [file[:position]]
    while position + _AROUND <= len(file):
        length, name = struct.unpack_from(">I4s", file, position)
        chunk = file[position : position + _AROUND + length]
        if name == b"IDAT" or len(chunk) < _AROUND + length:
            break
        (checksum,) = struct.unpack(">I", chunk[-4:])
        if name == b"iCCP" and zlib.crc32(chunk[4:-4]) == checksum:
            profile = _inflated(chunk[8:-4])
        else:
            parts.append(chunk)
        position += len(chunk)
    return b"".join([*parts, file[position:]]), profile


def _inflated(data: bytes) -> bytes:
    """The profile after its name and the number of the compression."""
    _, _, rest = data.partition(b"\0")
    if rest[:1] != bytes([_DEFLATE]):
        return b""
    try:
        return zlib.decompressobj().decompress(rest[1:], MAX_PROFILE_BYTES + 1)
    except zlib.error:
        return b""


def scale_transparent_grey(image: PngImageFile) -> None:
    """Pillow scales greys of 2 and 4 bits to 8, but not the one that stands for transparency."""
    bits = next((_GREY_BITS.get(str(tile.args)) for tile in image.tile), None)
    key = image.info.get("transparency")
    if bits and isinstance(key, int) and key < 1 << bits:
        image.info["transparency"] = key * 255 // ((1 << bits) - 1)
