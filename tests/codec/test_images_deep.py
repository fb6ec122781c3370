"""16 bits a channel: refused, or rounded to 8 where an image may be adapted."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from kompakt_codec.errors import UnsupportedImageError
from kompakt_codec.images import DecodedFile, decode_file, decode_image
from tests.codec.image_files import deep_avif, png, png_chunk, rgb16_tiff, save, tiff

RAW, ADOBE_DEFLATE = 1, 8
COLOUR_TYPES = {1: 0, 3: 2, 4: 6}


def deep_png(pixels: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, 0)
    all_chunks = (b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in all_chunks)


def deep_tiff(pixels: np.ndarray, compression: int, order: str = "<") -> bytes:
    height, width, channels = pixels.shape
    data = pixels.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if compression == ADOBE_DEFLATE else data
    tags = {256: (width,), 257: (height,), 258: (16,) * channels, 259: (compression,)}
    tags |= {262: (1 if channels == 1 else 2,), 273: (8,), 277: (channels,), 278: (height,)}
    return tiff({**tags, 279: (len(data),), **({338: (2,)} if channels == 4 else {})}, data)


def rounded(pixels: np.ndarray) -> np.ndarray:
    return np.floor(pixels / 257 + 0.5).astype(np.uint8)


def adapted(data: bytes) -> DecodedFile:
    decoded = decode_file(data, adapt=True)
    assert decoded.adapted
    return decoded


@given(
    pixels=hnp.arrays(
        np.uint16, st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3]))
    )
)
def test_every_number_is_rounded(pixels):
    for data in (
        deep_png(pixels),
        deep_tiff(pixels, RAW),
        deep_tiff(pixels, ADOBE_DEFLATE),
    ):
        np.testing.assert_array_equal(adapted(data).pixels, rounded(pixels))


@pytest.mark.parametrize("channels", [1, 3])
def test_all_numbers_are_rounded(channels):
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(channels, axis=2)

    np.testing.assert_array_equal(adapted(deep_png(pixels)).pixels, rounded(pixels))


def test_big_endian_grey_is_read():
    pixels = np.arange(0, 65536, 1311, dtype=np.uint16).reshape(5, 10)
    image = Image.frombytes("I;16B", (10, 5), pixels.astype(">u2").tobytes())

    np.testing.assert_array_equal(adapted(save(image, "TIFF")).pixels[..., 0], rounded(pixels))


def test_8_bits_say_that_nothing_was_given_up():
    assert not decode_file(save(Image.new("L", (2, 2)), "PNG"), adapt=True).adapted


@pytest.mark.parametrize("make", [deep_png, lambda pixels: deep_tiff(pixels, RAW)])
def test_deep_alpha_is_laid_over_black(make):
    pixels = np.full((2, 3, 4), 65535, np.uint16)
    pixels[0, 0] = (65535, 32896, 0, 32896)

    decoded = adapted(make(pixels))

    assert decoded.pixels[0, 0].tolist() == [128, 64, 0]
    assert (decoded.pixels[1] == 255).all()


@pytest.mark.parametrize("key", [(300,), (300, 301, 302)])
def test_a_deep_transparent_colour_is_laid_over_black(key):
    pixels = np.full((2, 2, len(key)), 65535, np.uint16)
    pixels[0, 0] = key
    pixels[0, 1] = np.add(key, 1)  # the same in 8 bits, but not the colour

    decoded = adapted(deep_png(pixels, (b"tRNS", struct.pack(f">{len(key)}H", *key))))

    assert decoded.pixels[0, 0].tolist() == [0] * len(key)
    assert decoded.pixels[0, 1].tolist() == [1] * len(key)


def test_orientation_and_profile_are_applied_to_deep_images():
    pixels = np.arange(0, 6 * 3000, 1000, dtype=np.uint16).reshape(2, 3, 3)
    exif = Image.Exif()
    exif[0x0112] = 6

    decoded = adapted(deep_png(pixels, (b"eXIf", exif.tobytes()[6:])))

    np.testing.assert_array_equal(decoded.pixels, np.rot90(rounded(pixels), -1))


DEEP = {
    "grey png": png(4, 4, 16, 0, 2),
    "rgb png": png(4, 4, 16, 2, 6),
    "rgba png": png(4, 4, 16, 6, 8),
    "rgb tiff": rgb16_tiff(),
    "grey tiff": save(Image.new("I;16", (4, 4)), "TIFF"),
}


@pytest.mark.parametrize("name", DEEP)
def test_16_bits_are_refused_unless_they_may_be_adapted(name):
    with pytest.raises(
        UnsupportedImageError, match="convert the image to 8 bits, or ask for a fit"
    ):
        decode_image(DEEP[name])

    adapted(DEEP[name])


NEVER = {
    "grey and alpha png": png(4, 4, 16, 4, 4),
    "32 bits": save(Image.new("I", (4, 4)), "TIFF"),
    "floating point": save(Image.new("F", (4, 4)), "TIFF"),
    "10-bit avif": deep_avif(),
    "12-bit tiff": tiff(
        {256: (2,), 257: (2,), 258: (12,), 262: (1,), 273: (8,), 277: (1,), 278: (2,), 279: (6,)},
        bytes(6),
    ),
    "white is zero": tiff(
        {256: (2,), 257: (2,), 258: (16,), 262: (0,), 273: (8,), 277: (1,), 278: (2,), 279: (8,)},
        bytes(8),
    ),
    "three planes": tiff(
        {
            **{256: (2,), 257: (2,), 258: (16,) * 3, 259: (8,), 262: (2,), 273: (8,) * 3},
            **{277: (3,), 278: (2,), 279: (16,) * 3, 284: (2,)},
        },
        zlib.compress(bytes(8)),
    ),
}


@pytest.mark.parametrize("name", NEVER)
def test_other_depths_are_always_refused(name):
    for adapt in (False, True):
        with pytest.raises(UnsupportedImageError, match="8 bits"):
            decode_file(NEVER[name], adapt=adapt)
