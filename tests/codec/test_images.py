"""decode_image, image_from_raw and encode_image on sound images."""

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from kompakt_codec.errors import (
    CodecError,
    ImageTooLargeError,
    InvalidImageError,
    UnsupportedImageError,
    WrongSizeError,
)
from kompakt_codec.images import (
    IMAGE_FORMATS,
    FileFormat,
    Pixels,
    decode_file,
    decode_image,
    encode_image,
    image_from_raw,
    image_shape,
    match_channels,
)
from tests.codec.image_files import GREY_RAMP, RGB_RAMP, grey, png, png_chunk, save


@given(
    pixels=hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))
    ),
    file_format=st.sampled_from([f for f in FileFormat if f is not FileFormat.JPEG]),
)
def test_what_is_encoded_decodes_to_the_same_pixels(
    pixels: Pixels, file_format: FileFormat
) -> None:
    decoded = decode_image(encode_image(pixels, file_format))

    np.testing.assert_array_equal(match_channels(decoded, pixels.shape[2]), pixels)
    assert decoded.flags.writeable
    assert decoded.flags.c_contiguous


def test_webp_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(WrongSizeError, match="16383 pixels a side"):
        encode_image(np.zeros((1, 16_384, 1), np.uint8), FileFormat.WEBP)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "GIF"])
def test_grey_files_decode_to_one_channel(file_format: str) -> None:
    np.testing.assert_array_equal(decode_image(grey(file_format)), GREY_RAMP[..., np.newaxis])


@pytest.mark.parametrize("file_format", IMAGE_FORMATS)
def test_every_format_decodes_near_enough(file_format: str) -> None:
    smooth = Image.fromarray(RGB_RAMP).resize((80, 48), Image.Resampling.BICUBIC)
    options = {"quality": 95} if file_format in ("JPEG", "WebP", "AVIF") else {}

    decoded = decode_image(save(smooth, file_format, **options))

    assert np.abs(decoded.astype(int) - np.asarray(smooth)).mean() < 8


@pytest.mark.parametrize(
    ("colours", "channels"),
    [([(0, 0, 0), (90, 90, 90)], 1), ([(0, 0, 0), (255, 0, 0)], 3)],
)
def test_a_palette_becomes_grey_or_rgb(colours: list[tuple[int, ...]], channels: int) -> None:
    indices = (GREY_RAMP % 2).astype(np.uint8)
    image = Image.frombytes("P", (20, 12), indices.tobytes())
    image.putpalette([value for colour in colours for value in colour])

    decoded = decode_image(save(image, "PNG"))

    np.testing.assert_array_equal(decoded, np.array(colours, np.uint8)[indices][..., :channels])


def test_one_bit_becomes_black_and_white() -> None:
    image = Image.fromarray(GREY_RAMP > 100)

    np.testing.assert_array_equal(
        decode_image(save(image, "PNG"))[..., 0], np.where(GREY_RAMP > 100, 255, 0)
    )


def test_cmyk_becomes_rgb() -> None:
    image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))

    np.testing.assert_allclose(decode_image(save(image, "JPEG"))[0, 0], [0, 255, 255], atol=3)


def test_ycbcr_becomes_rgb() -> None:
    red = Image.new("RGB", (8, 8), (255, 0, 0)).convert("YCbCr")

    np.testing.assert_allclose(
        decode_image(save(red, "TIFF", compression="tiff_lzw"))[0, 0], [255, 0, 0], atol=3
    )


@pytest.mark.parametrize("file_format", ["PNG", "WebP", "TIFF", "AVIF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(file_format: str, orientation: int) -> None:
    quadrants = np.kron(np.array([[0, 80], [160, 240], [40, 120]], np.uint8), np.ones((16, 16)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(quadrants.astype(np.uint8))
    turned = {
        1: quadrants,
        2: quadrants[:, ::-1],
        3: quadrants[::-1, ::-1],
        4: quadrants[::-1],
        5: quadrants.T,
        6: np.rot90(quadrants, -1),
        7: quadrants[::-1, ::-1].T,
        8: np.rot90(quadrants),
    }
    options = {"lossless": True} if file_format == "WebP" else {"quality": 100}

    decoded = decode_image(save(stored, file_format, exif=exif, **options))

    np.testing.assert_allclose(decoded[..., 0], turned[orientation], atol=4)


def test_a_broken_exif_block_is_ignored() -> None:
    data = grey("PNG", exif=b"Exif\0\0garbage")

    np.testing.assert_array_equal(decode_image(data)[..., 0], GREY_RAMP)


@pytest.mark.parametrize("file_format", ["PNG", "WebP", "TIFF"])
def test_opaque_alpha_is_dropped(file_format: str) -> None:
    image = Image.fromarray(RGB_RAMP).convert("RGBA")

    np.testing.assert_array_equal(decode_image(save(image, file_format, lossless=True)), RGB_RAMP)


def transparent_images() -> list[Any]:
    """Files with transparency, and what they show over black."""
    alpha = Image.new("L", (20, 12), 128)
    grey_alpha, rgb_alpha = Image.fromarray(GREY_RAMP), Image.fromarray(RGB_RAMP)
    grey_alpha.putalpha(alpha)
    rgb_alpha.putalpha(alpha)
    key = int(GREY_RAMP[3, 3])
    without_key = np.where(key == GREY_RAMP, 0, GREY_RAMP)[..., np.newaxis]
    return [
        pytest.param(save(grey_alpha, "PNG"), GREY_RAMP[..., np.newaxis] * 128.0 / 255, id="grey"),
        pytest.param(save(rgb_alpha, "PNG"), RGB_RAMP * 128.0 / 255, id="rgb"),
        pytest.param(grey("PNG", transparency=key), without_key, id="colour key"),
        pytest.param(grey("GIF", transparency=key), without_key, id="gif"),
    ]


@pytest.mark.parametrize(("data", "over_black"), transparent_images())
def test_transparency_is_refused_or_laid_over_black(data: bytes, over_black: Any) -> None:
    with pytest.raises(UnsupportedImageError, match="transparent"):
        decode_image(data)

    np.testing.assert_allclose(decode_file(data, adapt=True).pixels, over_black, atol=0.5)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_transparent_grey_of_a_png_is_found_at_every_depth(bits: int) -> None:
    most = (1 << bits) - 1
    key = most - most // 3
    whole = png(1, 2, bits, 0)
    greys = b"\0" + (key << 16 - bits).to_bytes(2, "big")  # the key, then black
    idat = png_chunk(b"IDAT", zlib.compress(greys[: 1 + -(-2 * bits // 8)]))
    transparent = png_chunk(b"tRNS", key.to_bytes(2, "big"))
    data = whole.replace(png_chunk(b"IDAT", zlib.compress(b"")), transparent + idat)

    with pytest.raises(UnsupportedImageError, match="transparent"):
        decode_image(data)
    np.testing.assert_array_equal(decode_file(data, adapt=True).pixels.ravel(), [0, 0])
    opaque = decode_image(data.replace(transparent, b""))
    np.testing.assert_array_equal(opaque.ravel(), [key * 255 // most, 0])


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WebP", "TIFF"])
def test_only_the_first_frame_is_taken(file_format: str) -> None:
    first = Image.fromarray(GREY_RAMP)
    second = Image.fromarray(255 - GREY_RAMP)

    data = save(first, file_format, save_all=True, append_images=[second], lossless=True)

    np.testing.assert_array_equal(match_channels(decode_image(data), 1)[..., 0], GREY_RAMP)


@pytest.mark.parametrize("pixels", [GREY_RAMP[..., np.newaxis], RGB_RAMP])
def test_raw_pixels_come_back(pixels: Pixels) -> None:
    height, width, channels = pixels.shape

    raw = image_from_raw(pixels.tobytes(), height, width, channels)

    np.testing.assert_array_equal(raw, pixels)
    assert raw.flags.writeable


@pytest.mark.parametrize(
    ("length", "shape", "error", "message"),
    [
        (783, (28, 28, 1), InvalidImageError, "take 784 bytes, not 783"),
        (785, (28, 28, 1), InvalidImageError, "take 784 bytes, not 785"),
        (0, (28, 28, 1), InvalidImageError, "not 0"),
        (0, (0, 28, 1), InvalidImageError, "must be positive"),
        (0, (28, 0, 1), InvalidImageError, "must be positive"),
        (56, (28, 1, 2), InvalidImageError, "1 .grey. or 3 .RGB."),
        (4, (100_000, 100_000, 1), ImageTooLargeError, "over the limit"),
    ],
)
def test_wrong_raw_pixels_are_refused(
    length: int, shape: tuple[int, int, int], error: type[CodecError], message: str
) -> None:
    with pytest.raises(error, match=message):
        image_from_raw(bytes(length), *shape)


def test_noise_is_written_in_every_format() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    for file_format in FileFormat:
        decoded = decode_image(encode_image(noise, file_format))
        assert decoded.shape == noise.shape
        assert file_format is FileFormat.JPEG or np.array_equal(decoded, noise)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WebP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_header_tells_the_shape_that_the_pixels_have(
    file_format: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = save(Image.fromarray(np.zeros((20, 40, 3), np.uint8)), file_format, exif=exif)
    assert image_shape(data) == decode_image(data).shape
    assert image_shape(b"no image") is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(grey("PNG", exif=b"Exif\0\0garbage"), id="broken EXIF"),
        pytest.param(
            grey("TIFF", tiffinfo={700: b'<x tiff:Orientation="6"/>'}), id="turned by a TIFF's XMP"
        ),
        pytest.param(save(Image.new("I;16B", (20, 12)), "TIFF"), id="big-endian grey"),
    ],
)
def test_the_header_of_a_rare_file_tells_its_shape(data: bytes) -> None:
    assert image_shape(data) == decode_file(data, adapt=True).pixels.shape
