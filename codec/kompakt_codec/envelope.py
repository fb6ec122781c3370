"""Envelopes: metadata before a frame of the file profile (docs/format.md, "Envelope")."""

import zlib
from dataclasses import dataclass

from kompakt_codec.crc import crc32c
from kompakt_codec.errors import CorruptStreamError, InvalidStreamError, UnsupportedVersionError
from kompakt_codec.images import MAX_EXIF_BYTES, MAX_XMP_BYTES, Metadata
from kompakt_codec.varint import pack_varint, read_varint

MAGIC = b"\xcbKM"
VERSION = 1

_HAS_EXIF, _HAS_XMP, _RESERVED = 0x01, 0x02, 0x1C
_CHECK_BYTES = 4
_MAX_OVERHEAD = 64
"""What DEFLATE adds at most to metadata of the greatest length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An envelope taken apart, its metadata not yet inflated."""

    exif_bytes: int
    xmp_bytes: int
    body: bytes

    @property
    def metadata_bytes(self) -> int:
        """How many bytes the metadata has."""
        return self.exif_bytes + self.xmp_bytes

    def open(self) -> Metadata:
        """The metadata. Raises InvalidStreamError if the body does not give as much as it says."""
        inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        try:
            data = inflater.decompress(self.body, self.metadata_bytes + 1)
        except zlib.error:
            data = b""
        if len(data) != self.metadata_bytes or not inflater.eof or inflater.unused_data:
            raise InvalidStreamError("the envelope's metadata is malformed")
        return Metadata(exif=data[: self.exif_bytes], xmp=data[self.exif_bytes :])


def pack_envelope(metadata: Metadata) -> bytes:
    """What stands before the frame that the metadata goes with; nothing if there is none."""
    if not metadata:
        return b""
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    body = deflater.compress(metadata.exif + metadata.xmp) + deflater.flush()
    head = VERSION << 5
    lengths = b""
    for flag, block in ((_HAS_EXIF, metadata.exif), (_HAS_XMP, metadata.xmp)):
        if block:
            head |= flag
            lengths += pack_varint(len(block))
    opening = MAGIC + bytes([head]) + lengths + pack_varint(len(body)) + body
    return opening + crc32c(opening).to_bytes(_CHECK_BYTES, "little")


def split_envelope(data: bytes) -> tuple[Envelope | None, bytes]:
    """The envelope before a frame, if there is one, and the frame.

    Every length is checked; nothing is inflated. What does not begin with the envelope's magic is
    a frame. Raises InvalidStreamError, UnsupportedVersionError or CorruptStreamError.
    """
    if not data.startswith(MAGIC):
        return None, data
    start = len(MAGIC) + 1
    if len(data) < start:
        raise InvalidStreamError("the envelope is cut")
    head = data[start - 1]
    if head >> 5 != VERSION:
        raise UnsupportedVersionError(
            f"envelope version {head >> 5} is not supported, only {VERSION}"
        )
    if head & _RESERVED or not head & (_HAS_EXIF | _HAS_XMP):
        raise InvalidStreamError("the envelope's head is malformed")
    exif_bytes, position = _length(data, start, MAX_EXIF_BYTES) if head & _HAS_EXIF else (0, start)
    xmp_bytes, position = (
        _length(data, position, MAX_XMP_BYTES) if head & _HAS_XMP else (0, position)
    )
    body_bytes, position = _length(data, position, exif_bytes + xmp_bytes + _MAX_OVERHEAD)
    end = position + body_bytes
    frame = end + _CHECK_BYTES
    if frame > len(data):
        raise InvalidStreamError("the envelope is cut")
    if crc32c(data[:end]).to_bytes(_CHECK_BYTES, "little") != data[end:frame]:
        raise CorruptStreamError("the envelope's check does not match: it was cut or changed")
    envelope = Envelope(exif_bytes=exif_bytes, xmp_bytes=xmp_bytes, body=data[position:end])
    return envelope, data[frame:]


def _length(data: bytes, position: int, limit: int) -> tuple[int, int]:
    value, position = read_varint(data, position, len(data), "envelope's length")
    if value > limit:
        raise InvalidStreamError(f"the envelope claims {value} bytes, over the limit of {limit}")
    return value, position
