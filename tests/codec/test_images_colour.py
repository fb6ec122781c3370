"""Embedded ICC profiles: applied, ignored where they cannot be used, and never a failure."""

import functools
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kompakt_codec.errors import InvalidImageError
from kompakt_codec.images import Pixels, decode_file, decode_image
from kompakt_codec.images._colour import MAX_PROFILE_BYTES
from tests.codec.icc_profiles import (
    ADOBE_RGB,
    SRGB,
    grey_profile,
    press_profile,
    rgb_profile,
    srgb_profile,
)
from tests.codec.image_files import GREY_RAMP, RGB_RAMP, flip_byte, grey, png_chunk, rgb, save

ADOBE = rgb_profile(ADOBE_RGB, 2.19921875)
LINEAR_GREY = grey_profile(1.0)
SOUND = [ADOBE, LINEAR_GREY, press_profile(), srgb_profile()]


def linear(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def gamma_encoded(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    curve = 1.055 * light ** (1 / 2.4) - 0.055
    return 255 * np.where(light <= 0.0031308, 12.92 * light, curve)


def by_matrix(pixels: Pixels, primaries: tuple[tuple[float, ...], ...], gamma: float) -> np.ndarray:
    """What a matrix profile makes of pixels, worked out in floating point."""
    xyz = (pixels / 255) ** gamma @ np.array(primaries)
    return gamma_encoded(xyz @ np.linalg.inv(np.array(SRGB)))


SWAPPED = SRGB[::-1]


@pytest.mark.parametrize(
    ("primaries", "gamma"), [(ADOBE_RGB, 2.19921875), (SWAPPED, 1.0), (SRGB, 1.8)]
)
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WebP"])
def test_a_matrix_profile_is_applied(file_format, primaries, gamma):
    profile = rgb_profile(primaries, gamma)

    decoded = decode_image(rgb(file_format, icc_profile=profile, lossless=True))

    # A dark linear level of ours is several of sRGB's: half of one before is the tolerance.
    expected = by_matrix(RGB_RAMP, primaries, round(gamma * 256) / 256)
    assert np.abs(decoded - expected).max() < 2


def test_a_jpegs_profile_is_applied():
    plain, tagged = rgb("JPEG"), rgb("JPEG", icc_profile=ADOBE)

    expected = by_matrix(decode_image(plain), ADOBE_RGB, 2.19921875)

    assert np.abs(decode_image(tagged) - expected).max() < 2


@pytest.mark.parametrize("make", [grey, rgb])
def test_srgb_under_any_name_changes_nothing(make):
    plain, tagged = make("PNG"), make("PNG", icc_profile=srgb_profile())

    np.testing.assert_array_equal(decode_image(tagged), decode_image(plain))


def test_a_grey_profile_is_applied_to_grey():
    decoded = decode_image(grey("PNG", icc_profile=LINEAR_GREY))

    expected = gamma_encoded(GREY_RAMP / 255)
    assert decoded.shape == (12, 20, 1)
    assert np.abs(decoded[..., 0] - expected).max() < 2


def test_greys_stay_grey_under_a_colour_profile():
    profile = rgb_profile(ADOBE_RGB, 1.0)
    three = save(Image.fromarray(GREY_RAMP).convert("RGB"), "PNG", icc_profile=profile)

    colour = decode_image(three)
    one = decode_image(grey("PNG", icc_profile=profile))

    assert (colour == one).all()
    assert np.abs(one[..., 0] - gamma_encoded(GREY_RAMP / 255)).max() < 2


def test_a_grey_palette_stays_grey_under_a_colour_profile():
    image = Image.fromarray(GREY_RAMP).convert("P")

    decoded = decode_image(save(image, "PNG", icc_profile=rgb_profile(ADOBE_RGB, 1.0)))

    assert decoded.shape == (12, 20, 1)
    assert np.abs(decoded[..., 0] - gamma_encoded(GREY_RAMP / 255)).max() < 2


def test_transparency_is_laid_over_black_after_the_conversion():
    image = Image.fromarray(RGB_RAMP)
    opaque = decode_image(save(image, "PNG", icc_profile=ADOBE))
    image.putalpha(Image.new("L", image.size, 128))

    decoded = decode_file(save(image, "PNG", icc_profile=ADOBE), adapt=True)

    np.testing.assert_allclose(decoded.pixels, opaque * (128 / 255), atol=0.5)


def test_cmyk_is_printed_by_its_profile():
    """With this press only the black ink counts, and it is proportional to L*."""
    inks = Image.new("CMYK", (8, 8), (255, 0, 0, 51))

    printed = decode_image(save(inks, "JPEG", icc_profile=press_profile()))
    plain = decode_image(save(inks, "JPEG"))

    light = ((80 + 16) / 116) ** 3
    np.testing.assert_allclose(printed[0, 0], gamma_encoded(np.full(3, light)), atol=3)
    assert plain[0, 0, 0] < 5


@pytest.mark.parametrize(
    ("make", "profile"),
    [
        pytest.param(rgb, b"", id="empty"),
        pytest.param(rgb, b"not a profile", id="text"),
        pytest.param(rgb, ADOBE[:200], id="cut"),
        pytest.param(rgb, ADOBE[:36] + b"pcsa" + ADOBE[40:], id="no signature"),
        pytest.param(rgb, ADOBE[:12] + b"link" + ADOBE[16:], id="a device link"),
        pytest.param(rgb, ADOBE[:12] + b"nmcl" + ADOBE[16:], id="named colours"),
        pytest.param(rgb, ADOBE[:128] + b"\xff" * 4 + ADOBE[132:], id="a huge table"),
        pytest.param(rgb, LINEAR_GREY, id="for grey"),
        pytest.param(rgb, press_profile(), id="for CMYK"),
        pytest.param(grey, press_profile(), id="for CMYK, of grey"),
        pytest.param(rgb, ADOBE.ljust(MAX_PROFILE_BYTES + 1, b"\0"), id="too long"),
    ],
)
def test_a_profile_that_cannot_be_used_is_ignored(make, profile):
    plain, tagged = make("TIFF"), make("TIFF", icc_profile=profile)

    np.testing.assert_array_equal(decode_image(tagged), decode_image(plain))


def png_with_profile(body: bytes) -> bytes:
    """A PNG whose chunk of the profile, before its pixels, has this body."""
    plain = rgb("PNG")
    at = plain.index(b"IDAT") - 4
    return plain[:at] + png_chunk(b"iCCP", body) + plain[at:]


@pytest.mark.parametrize("length", [1 << 20, 3 << 20, MAX_PROFILE_BYTES])
def test_a_long_profile_of_a_png_is_applied(length):
    profile = ADOBE.ljust(length, b"\0")

    decoded = decode_image(png_with_profile(b"long\0\0" + zlib.compress(profile)))

    expected = decode_image(rgb("TIFF", icc_profile=ADOBE))
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no end", id="a name alone"),
        pytest.param(b"bad\0\1" + zlib.compress(ADOBE), id="another compression"),
        pytest.param(b"bad\0\0not deflated", id="not compressed"),
        pytest.param(b"bomb\0\0" + zlib.compress(ADOBE.ljust(8 << 20, b"\0")), id="too long"),
    ],
)
def test_a_profile_of_a_png_that_cannot_be_read_is_ignored(body):
    np.testing.assert_array_equal(decode_image(png_with_profile(body)), RGB_RAMP)


def test_a_profile_of_a_png_that_was_changed_on_its_way_is_not_ignored():
    sound = rgb("PNG", icc_profile=ADOBE)

    with pytest.raises(InvalidImageError, match="checksum"):
        decode_image(flip_byte(sound, sound.index(b"iCCP") + 30))


def damaged(sound: bytes, changes: list[tuple[int, int]], length: int) -> bytes:
    data = bytearray(sound)
    for at, value in changes:
        data[at % len(data)] = value
    return bytes(data[:length])


profiles = st.builds(
    damaged,
    st.sampled_from(SOUND),
    st.lists(st.tuples(st.integers(0, 600) | st.integers(0, 10_000), st.integers(0, 255))),
    st.just(100_000) | st.integers(0, 600),
)
cmyk = functools.partial(save, Image.new("CMYK", (3, 2), (9, 99, 0, 51)))


@settings(max_examples=300, deadline=None)
@given(profile=profiles, make=st.sampled_from([grey, rgb, cmyk]))
def test_damaged_profiles_give_a_picture(profile, make):
    started = time.monotonic()

    pixels = decode_image(make("TIFF", icc_profile=profile))

    assert pixels.shape[2] == (1 if make is grey else 3)
    assert time.monotonic() - started < 20  # no hang
