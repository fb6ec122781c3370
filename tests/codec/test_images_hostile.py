"""decode_image on files that are damaged, not accepted, or made to do harm."""

import contextlib
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kompakt_codec.errors import (
    CodecError,
    ImageTooLargeError,
    InvalidImageError,
    UnsupportedImageError,
)
from kompakt_codec.images import ImageLimits, decode_file, decode_image
from tests.codec.image_files import (
    GREY_RAMP,
    bmp_bomb,
    deep_avif,
    flip_byte,
    gif_bomb,
    grey,
    jpeg_with_size,
    png,
    rgb,
    rgb16_tiff,
    save,
    sound_files,
    tiff,
    webp_bomb,
)

SMALL = ImageLimits(max_bytes=100_000, max_pixels=10_000)
SOUND_FILES = sound_files()


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        pytest.param(b"", InvalidImageError, "empty file", id="empty"),
        pytest.param(b"hello, world", InvalidImageError, "PNG, JPEG, WebP", id="text"),
        pytest.param(b"%PDF-1.7 ...", InvalidImageError, "not an image", id="another format"),
        pytest.param(b"\0\0\0\x18ftypheic", UnsupportedImageError, "HEIC is not read", id="HEIC"),
        pytest.param(b"\xff\x0a\xfa", UnsupportedImageError, "JPEG XL is not read", id="JPEG XL"),
        pytest.param(b"\x89PNG\r\n\x1a\n", InvalidImageError, "PNG", id="magic only"),
        pytest.param(b"RIFF....WEBPVP8 ", InvalidImageError, "WebP", id="webp magic only"),
        pytest.param(png(0, 5, 8, 0), InvalidImageError, "PNG", id="no rows"),
        pytest.param(png(4, 4, 8, 0), InvalidImageError, "PNG", id="no pixels"),
        pytest.param(grey("PNG")[:-30], InvalidImageError, "PNG", id="cut png"),
        pytest.param(grey("PNG")[:-12], InvalidImageError, "PNG", id="png without its end"),
        pytest.param(flip_byte(grey("PNG"), 60), InvalidImageError, "checksum", id="png bit flip"),
        pytest.param(rgb("JPEG")[:300], InvalidImageError, "JPEG", id="cut jpeg"),
        pytest.param(rgb("WEBP")[:-20], InvalidImageError, "WebP", id="cut webp"),
        pytest.param(rgb("AVIF")[:-20], InvalidImageError, "AVIF", id="cut avif"),
        pytest.param(rgb("BMP")[:-20], InvalidImageError, "BMP", id="cut bmp"),
        pytest.param(rgb("TIFF")[:-20], InvalidImageError, "TIFF", id="cut tiff"),
        pytest.param(rgb("GIF")[:-200], InvalidImageError, "GIF", id="cut gif"),
        pytest.param(png(4, 4, 16, 0, 2), UnsupportedImageError, "8 bits", id="16-bit grey png"),
        pytest.param(png(4, 4, 16, 2, 6), UnsupportedImageError, "8 bits", id="16-bit rgb png"),
        pytest.param(png(4, 4, 16, 4, 4), UnsupportedImageError, "8 bits", id="16-bit la png"),
        pytest.param(png(4, 4, 16, 6, 8), UnsupportedImageError, "8 bits", id="16-bit rgba png"),
        pytest.param(rgb16_tiff(), UnsupportedImageError, "8 bits", id="16-bit rgb tiff"),
        pytest.param(deep_avif(), UnsupportedImageError, "8 bits", id="10-bit avif"),
        pytest.param(jpeg_with_size(12, 20, 12), UnsupportedImageError, "12-bit", id="12-bit jpeg"),
        *(
            pytest.param(save(Image.new(mode, (4, 4)), "TIFF"), UnsupportedImageError, "8 bits")
            for mode in ("I;16", "I", "F")
        ),
        pytest.param(
            tiff({256: (4,), 257: (4,), 258: (64,), 262: (1,), 273: (8,)}),
            UnsupportedImageError,
            "pixel mode",
            id="64-bit tiff",
        ),
        pytest.param(
            grey("PNG").ljust(SMALL.max_bytes + 1, b"\0"),
            ImageTooLargeError,
            "100001 bytes, over the limit of 100000",
            id="too many bytes",
        ),
    ],
)
def test_bad_files_are_refused(data: bytes, error: type[CodecError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        decode_image(data, SMALL)

    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@contextlib.contextmanager
def address_space(extra_bytes: int) -> Iterator[None]:
    """Let the process take at most so many bytes more than it has."""
    resource = pytest.importorskip("resource")
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc to know the process's size")
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(statm.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + extra_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png(100_000, 100_000, 8, 2), id="png"),
        pytest.param(png(1, 1_000_000, 8, 2), id="long png"),
        pytest.param(jpeg_with_size(65_535, 65_535), id="jpeg"),
        pytest.param(gif_bomb(9_000, 9_000, screen=9_000), id="gif"),
        pytest.param(gif_bomb(65_535, 65_535, screen=1), id="gif frame"),
        pytest.param(webp_bomb(10_000, 10_000), id="webp"),
        pytest.param(webp_bomb(16_383, 16_383), id="greater webp"),
        pytest.param(bmp_bomb(100_000, 100_000), id="bmp"),
        pytest.param(
            tiff({256: (10**5,), 257: (10**5,), 258: (8,), 262: (1,), 273: (8,)}), id="tiff"
        ),
        pytest.param(
            tiff(
                {
                    **{256: (8,), 257: (8,), 258: (8,), 259: (8,), 262: (1,)},
                    **{322: (40_000,), 323: (40_000,), 324: (8,), 325: (16,)},
                },
                zlib.compress(bytes(1000)),
            ),
            id="tiff tile",
        ),
    ],
)
def test_great_sizes_are_refused_by_the_header(data: bytes) -> None:
    with address_space(32 * 2**20), pytest.raises(ImageTooLargeError, match="over the limit"):
        decode_image(data)


def test_avif_size_is_refused_by_the_header() -> None:
    with pytest.raises(ImageTooLargeError, match="12x20"):
        decode_image(grey("AVIF"), ImageLimits(max_pixels=239))


def test_limits_themselves_are_allowed() -> None:
    data = grey("PNG")

    pixels = decode_image(data, ImageLimits(max_bytes=len(data), max_pixels=GREY_RAMP.size))

    assert pixels.shape == (12, 20, 1)


@pytest.mark.parametrize("limits", [{"max_bytes": 0}, {"max_pixels": -1}])
def test_limits_must_be_positive(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        ImageLimits(**limits)


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SOUND_FILES)))
    for _ in range(draw(st.integers(0, 6))):
        # Headers lie at the start, except for TIFF's, which lies at the end.
        near = st.integers(0, min(80, len(data) - 1))
        at = draw(st.one_of(near, near.map(lambda i: -1 - i), st.integers(0, len(data) - 1)))
        data[at] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))])


SIGNATURES = sorted({data[:16] for data in SOUND_FILES} | {b""})


@settings(max_examples=800, deadline=None)
@given(data=damaged_files())
def test_damaged_files_raise_codec_errors_only(data: bytes) -> None:
    check_decode(data)


@settings(max_examples=400, deadline=None)
@given(signature=st.sampled_from(SIGNATURES), rest=st.binary(max_size=200))
def test_arbitrary_bytes_raise_codec_errors_only(signature: bytes, rest: bytes) -> None:
    check_decode(signature + rest)


def check_decode(data: bytes) -> None:
    with contextlib.suppress(CodecError):
        pixels = decode_file(data, SMALL, adapt=True).pixels

        height, width, channels = pixels.shape
        assert height * width <= SMALL.max_pixels
        assert channels in (1, 3)
        assert pixels.dtype == np.uint8
