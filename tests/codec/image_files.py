"""Image files for tests: sound ones, and ones made by hand that no library writes."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from kompakt_codec.images import IMAGE_FORMATS

GREY_RAMP = np.arange(12 * 20, dtype=np.uint8).reshape(12, 20)
RGB_RAMP = np.stack([GREY_RAMP, GREY_RAMP[::-1], GREY_RAMP[:, ::-1]], axis=2)


def save(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def grey(file_format: str, **options: Any) -> bytes:
    return save(Image.fromarray(GREY_RAMP), file_format, **options)


def rgb(file_format: str, **options: Any) -> bytes:
    return save(Image.fromarray(RGB_RAMP), file_format, **options)


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(height: int, width: int, bits: int, colour_type: int, bytes_per_pixel: int = 0) -> bytes:
    rows = (b"\0" + bytes(width * bytes_per_pixel)) * height if bytes_per_pixel else b""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def tiff(tags: dict[int, tuple[int, ...]], data: bytes = b"") -> bytes:
    """A little-endian TIFF of LONG tags; the pixel data, if any, starts at byte 8."""
    extra, entries = b"", b""
    extra_offset = 8 + len(data) + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            packed, extra = struct.pack("<I", extra_offset + len(extra)), extra + packed
        entries += struct.pack("<HHI", tag, 4, len(values)) + packed
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + extra


def rgb16_tiff() -> bytes:
    tags = {256: (4,), 257: (4,), 258: (16, 16, 16), 259: (1,), 262: (2,), 273: (8,), 277: (3,)}
    return tiff({**tags, 278: (4,), 279: (96,)}, bytes(96))


def gif_bomb(height: int, width: int, *, screen: int) -> bytes:
    """A square screen, and one frame of this size that asks to be disposed of."""
    control = b"!\xf9\x04\x08\0\0\0\0"
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0)
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", screen, screen, 0, 0, 0)
        + control
        + frame
        + b"\x02\x01\0\0;"
    )


def webp_bomb(height: int, width: int) -> bytes:
    bits = struct.pack("<BI", 0x2F, (width - 1) | (height - 1) << 14)
    chunk = b"VP8L" + struct.pack("<I", 20) + bits + bytes(15)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def bmp_bomb(height: int, width: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def jpeg_with_size(height: int, width: int, precision: int = 8) -> bytes:
    data = grey("JPEG")
    at = data.index(b"\xff\xc0") + 4
    return data[:at] + struct.pack(">BHH", precision, height, width) + data[at + 5 :]


def deep_avif() -> bytes:
    """An AVIF whose header says 10 bits a channel."""
    data = bytearray(grey("AVIF"))
    data[data.index(b"av1C") + 6] |= 0x40
    data[data.index(b"pixi") + 9] = 10
    return bytes(data)


def flip_byte(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def sound_files() -> list[bytes]:
    palette = Image.fromarray(RGB_RAMP).quantize(16)
    alpha = Image.fromarray(RGB_RAMP).convert("RGBA")
    many: dict[str, Any] = {"save_all": True, "append_images": [Image.fromarray(GREY_RAMP)]}
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        *(make(name) for name in IMAGE_FORMATS for make in (grey, rgb)),
        *(save(palette, name) for name in ("PNG", "GIF", "BMP", "TIFF")),
        *(save(alpha, name) for name in ("PNG", "WebP", "AVIF", "TIFF", "BMP")),
        *(rgb(name, exif=exif) for name in ("JPEG", "PNG", "WebP", "AVIF", "TIFF")),
        *(rgb("TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")),
        *(grey(name, **many) for name in ("GIF", "PNG", "WebP", "TIFF")),
        rgb("WebP", lossless=True),
        rgb("JPEG", progressive=True),
        save(Image.new("CMYK", (8, 8)), "JPEG"),
        save(Image.fromarray(GREY_RAMP > 99), "TIFF", compression="group4"),
    ]


SOUND_FILES = sound_files()
