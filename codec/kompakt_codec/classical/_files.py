"""PNG and WebP files without the bytes that follow from the image's shape.

Shapes are (height, width, channels). Of PNG (RFC 2083) the filtered rows are left; of WebP (RFC
9649) the bitstream without its dimensions.
"""

import struct
import zlib

from kompakt_codec.baselines import decode_baseline
from kompakt_codec.errors import CodecError, CorruptStreamError, InvalidStreamError
from kompakt_codec.images import WEBP_MAX_SIDE, Pixels

Shape = tuple[int, int, int]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2
_VP8L_SIGNATURE = 0x2F
_VP8_START = b"\x9d\x01\x2a"
_VP8_TAG_BYTES = 3


def png_rows(file: bytes) -> bytes:
    """The filtered rows of a PNG that the baseline wrote."""
    position, parts = len(_PNG_SIGNATURE), []
    while position < len(file):
        length, name = struct.unpack_from(">I4s", file, position)
        if name == b"IDAT":
            parts.append(file[position + 8 : position + 8 + length])
        position += 12 + length
    return zlib.decompress(b"".join(parts))


def num_row_bytes(shape: Shape) -> int:
    """Bytes of the filtered rows: each row begins with the number of its filter."""
    height, width, channels = shape
    return height * (1 + width * channels)


def decode_png_rows(rows: bytearray, shape: Shape) -> Pixels:
    """Undo the filters of as many rows as the shape has. Raises CorruptStreamError."""
    height, width, channels = shape
    colour = _GREY if channels == 1 else _RGB
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b"")
    return decode_file("png", _PNG_SIGNATURE + b"".join(_png_chunk(*c) for c in chunks), shape)


def strip_webp(file: bytes, *, lossless: bool) -> bytes:
    """The bitstream of a WebP file of one chunk, without its dimensions."""
    (length,) = struct.unpack_from("<I", file, 16)
    data = file[20 : 20 + length]
    if lossless:
        return data[5:]
    return data[:_VP8_TAG_BYTES] + data[_VP8_TAG_BYTES + 7 :]


def restore_webp(body: bytes, shape: Shape, *, lossless: bool) -> bytes:
    """The file that strip_webp shortened. Raises InvalidStreamError for a shape over WebP's."""
    height, width, _ = shape
    if max(height, width) > WEBP_MAX_SIDE:
        raise InvalidStreamError(f"WebP holds at most {WEBP_MAX_SIDE} pixels a side")
    if lossless:
        size = struct.pack("<BI", _VP8L_SIGNATURE, width - 1 | (height - 1) << 14)
        return _riff(b"VP8L", size + body)
    tag, rest = body[:_VP8_TAG_BYTES], body[_VP8_TAG_BYTES:]
    return _riff(b"VP8 ", tag + _VP8_START + struct.pack("<HH", width, height) + rest)


def decode_webp(body: bytes, shape: Shape, *, lossless: bool) -> Pixels:
    """Decode a stripped WebP file. Raises InvalidStreamError or CorruptStreamError."""
    file = restore_webp(body, shape, lossless=lossless)
    return decode_file("webp-lossless" if lossless else "webp", file, shape)


def decode_file(baseline: str, file: bytes, shape: Shape) -> Pixels:
    """Decode a file of a baseline. Raises CorruptStreamError for a damaged one."""
    try:
        return decode_baseline(baseline, file, shape)
    except CodecError:
        raise
    except Exception as error:  # whatever a foreign decoder makes of damaged bytes
        raise CorruptStreamError(
            f"no pixels lead to this {baseline} stream: it was cut or changed"
        ) from error


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _riff(name: bytes, data: bytes) -> bytes:
    chunk = name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
