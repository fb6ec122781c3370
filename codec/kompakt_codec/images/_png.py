"""PNG's ICC profile, read apart from its file.

Pillow refuses a file whose profile cannot be read, or is longer than its limit for texts.
"""

import struct
import zlib

from kompakt_codec.images._colour import MAX_PROFILE_BYTES

_SIGNATURE_BYTES = 8
_AROUND = 12
"""Bytes of a chunk beside its data: length, name and checksum."""
_DEFLATE = 0


def split_profile(file: bytes) -> tuple[bytes, bytes]:
    """A PNG file without its profile, and that; empty if there is none or it is broken.

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
