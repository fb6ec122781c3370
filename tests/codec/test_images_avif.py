"""The sizes in AVIF files: each that a decoder believes is held to the limits."""

import contextlib
import struct
import time
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kompakt_codec.errors import CodecError, ImageTooLargeError, InvalidImageError
from kompakt_codec.images import ImageLimits, decode_file, image_shape
from kompakt_codec.images._avif import check_avif
from kompakt_codec.images.av1 import SEQUENCE_HEADER, read_sequence_header, read_units
from tests.codec.image_files import rgb, save

SMALL = ImageLimits(max_pixels=64)
BRANDS = struct.pack(">I", 20) + b"ftypavif" + bytes(4) + b"avif"
Item = tuple[bytes, bytes]


def avif(height: int, width: int, mode: str = "RGB", *, frames: int = 1) -> bytes:
    first, *others = (Image.new(mode, (width, height), 40 * n) for n in range(frames))
    return save(first, "AVIF", save_all=frames > 1, append_images=others)


def obus(height: int, width: int) -> bytes:
    data = avif(height, width)
    return data[data.index(b"mdat") + 4 :]


def with_size(data: bytes, height: int, width: int) -> bytes:
    """The file with other sizes in its properties and its tracks."""
    changed = bytearray(data)
    for name, start, shift in ((b"ispe", 8, 0), (b"tkhd", 4 + 4 + 32 + 52, 16)):
        at = data.find(name)
        while at >= 0:
            struct.pack_into(">II", changed, at + start, width << shift, height << shift)
            at = data.find(name, at + 1)
    return bytes(changed)


def box(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), name) + data


def file(
    items: Mapping[int, Item], *, version: int = 0, stored: bool = False, num_extents: int = 1
) -> bytes:
    """Boxes of items alone, each in some extents, the last item first."""
    infos = b"".join(
        box(b"infe", struct.pack(">IHH4sx", 2 << 24, number, 0, kind))
        for number, (kind, _) in items.items()
    )
    listed = box(b"iinf", struct.pack(">IH", 0, len(items)) + infos)

    def meta(start: int) -> bytes:
        places = struct.pack(">IH" + "HHI"[version], version << 24, 0x4440, len(items))
        data = b""
        for number, (_, content) in reversed(items.items()):
            method = struct.pack(">H", stored) if version else b""
            places += struct.pack(">I" if version == 2 else ">H", number) + method
            places += struct.pack(">HIH", 0, 0 if stored else start, num_extents)
            step = max(1, -(-len(content) // num_extents))
            for part in (content[at : at + step] for at in range(0, step * num_extents, step)):
                places += struct.pack(">II", len(data), len(part))
                data += part
        kept = box(b"idat", data) if stored else b""
        return box(b"meta", bytes(4) + listed + box(b"iloc", places) + kept)

    start = len(BRANDS) + len(meta(0)) + 8
    data = b"".join(content for _, content in reversed(items.values()))
    return BRANDS + meta(start) + (b"" if stored else box(b"mdat", data))


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize(("height", "width"), [(2, 2), (5, 3), (33, 127), (64, 64)])
def test_sound_files_are_read_up_to_their_size(
    height: int, width: int, mode: str, frames: int
) -> None:
    data = avif(height, width, mode, frames=frames)
    exact = ImageLimits(max_pixels=height * width)

    check_avif(data, exact)
    pixels = decode_file(data, exact, adapt=True).pixels

    assert pixels.shape[:2] == (height, width)
    with pytest.raises(ImageTooLargeError, match=f"{height}x{width}"):
        check_avif(data, ImageLimits(max_pixels=height * width - 1))


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_picture_greater_than_its_box_says_is_refused(mode: str, frames: int) -> None:
    data = with_size(avif(40, 30, mode, frames=frames), 8, 8)

    with pytest.raises(ImageTooLargeError, match=r"40x30 .* over the limit of 64 pixels"):
        decode_file(data, SMALL, adapt=True)
    assert image_shape(data, SMALL) is None
    assert image_shape(data) == (8, 8, 3)


@pytest.mark.parametrize("frames", [1, 3])
def test_a_box_greater_than_the_picture_is_refused(frames: int) -> None:
    data = with_size(avif(8, 8, "RGBA", frames=frames), 16_000, 16_000)

    with pytest.raises(ImageTooLargeError, match="16000x16000"):
        decode_file(data)


@pytest.mark.parametrize(
    ("version", "stored"), [(0, False), (1, False), (1, True), (2, False), (2, True)]
)
@pytest.mark.parametrize("num_extents", [1, 3])
@pytest.mark.parametrize("great", [1, 2, 3])
def test_every_item_is_looked_at(version: int, stored: bool, num_extents: int, great: int) -> None:
    def items(side: int) -> dict[int, Item]:
        sides = {number: side if number == great else 8 for number in (1, 2, 3)}
        return {number: (b"av01", obus(side, side)) for number, side in sides.items()}

    small, large = (
        file(items(side), version=version, stored=stored, num_extents=num_extents)
        for side in (8, 30)
    )

    check_avif(small, SMALL)
    with pytest.raises(ImageTooLargeError, match="30x30"):
        check_avif(large, SMALL)


def test_items_of_other_kinds_are_passed_by() -> None:
    check_avif(file({1: (b"av01", obus(8, 8)), 2: (b"Exif", obus(30, 30))}), SMALL)


@pytest.mark.parametrize(
    "grid", [struct.pack(">BBBBHH", 0, 0, 0, 0, 9, 8), struct.pack(">BBBBII", 0, 1, 0, 0, 9, 8)]
)
def test_a_grid_greater_than_its_box_says_is_refused(grid: bytes) -> None:
    with pytest.raises(ImageTooLargeError, match="8x9"):
        check_avif(file({1: (b"av01", obus(8, 8)), 2: (b"grid", grid)}), SMALL)


def test_the_second_header_and_units_without_a_size_count() -> None:
    whole = obus(30, 30)
    header = next(data for kind, data in read_units(whole) if kind == SEQUENCE_HEADER)

    for data in (obus(8, 8) + whole, obus(8, 8) + b"\x08" + header):
        with pytest.raises(ImageTooLargeError, match="30x30"):
            check_avif(file({1: (b"av01", data)}), SMALL)


def test_a_frame_with_a_size_of_its_own_counts_as_the_greatest() -> None:
    """A shown key frame; bit 6 says so behind two flags, the second of which is a choice."""
    data = avif(5, 6, frames=2)
    units = read_units(data[data.index(b"mdat") + 4 :])
    header = next(data for kind, data in units if kind == SEQUENCE_HEADER)
    sequence = read_sequence_header(header)
    assert not sequence.is_still
    assert sequence.size == (5, 6)
    assert sequence.side_bits == (3, 3)

    assert sequence.frame_size(b"\x10") == (5, 6)
    assert sequence.frame_size(b"\x12") == (8, 8)
    assert sequence.frame_size(b"\x80") == (5, 6)  # one that is shown again
    assert sequence.frame_size(b"\x70") == (8, 8)  # of the type that always has one
    own = b"\x0a" + bytes([len(header)]) + header + b"\x32\x01\x12"
    with pytest.raises(ImageTooLargeError, match="8x8"):
        check_avif(file({1: (b"av01", own)}), ImageLimits(max_pixels=63))


def test_many_pictures_within_the_limit_are_too_many_together() -> None:
    tile = obus(8, 8)
    check_avif(file(dict.fromkeys(range(1, 9), (b"av01", tile))), SMALL)

    with pytest.raises(ImageTooLargeError, match="together over 16 times the limit of 64 pixels"):
        check_avif(file(dict.fromkeys(range(1, 10), (b"av01", tile))), SMALL)
    with pytest.raises(ImageTooLargeError, match="together"):
        check_avif(file({1: (b"av01", 9 * tile)}), SMALL)


def places(data: bytes, *, widths: int = 0) -> bytes:
    return BRANDS + box(b"meta", bytes(4) + box(b"iloc", struct.pack(">IH", 0, widths) + data))


def listed(num_items, *, num_extents):
    """Items of so many extents each, of no bytes."""
    items = b"".join(struct.pack(">HHH", n, 0, num_extents) for n in range(num_items))
    return places(struct.pack(">H", num_items) + items)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(BRANDS + 200_000 * box(b"free", b""), "too many parts", id="boxes"),
        pytest.param(
            places(struct.pack(">H", 9) + 9 * struct.pack(">HHH", 1, 0, 0)), "twice", id="same item"
        ),
        pytest.param(
            listed(9000, num_extents=0),
            "too many",
            id="items",
        ),
        pytest.param(
            listed(99, num_extents=65_535),
            "too many parts",
            id="extents of no bytes",
        ),
        pytest.param(places(struct.pack(">H", 3)), "cut", id="cut"),
        pytest.param(file({1: (b"av01", b"\x32\x01\x10")}), "no header", id="frame alone"),
        pytest.param(file({1: (b"av01", 200_000 * b"\x7a\0")}), "too many parts", id="units"),
    ],
)
def test_boxes_that_make_work_are_refused(data: bytes, message: str) -> None:
    start = time.perf_counter()
    with pytest.raises(InvalidImageError, match=message):
        decode_file(data)
    assert time.perf_counter() - start < 20


FILES = [
    rgb("AVIF"),
    avif(5, 3, "RGBA"),
    avif(8, 8, "RGBA", frames=3),
    file({1: (b"av01", obus(8, 8)), 2: (b"grid", bytes(8))}, version=2, stored=True),
]


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(0, 8))):
        data[draw(st.integers(0, len(data) - 1))] = draw(
            st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 255]))
        )
    return bytes(data[: draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))])


@settings(max_examples=500, deadline=None)
@given(
    data=st.one_of(
        damaged_files(),
        st.binary(max_size=300),
        st.binary(max_size=200).map(lambda data: file({1: (b"av01", data)})),
        st.binary(max_size=200).map(places),
        st.binary(max_size=200).map(lambda data: BRANDS + box(b"moov", box(b"trak", data))),
    )
)
def test_whatever_the_bytes_the_check_is_silent_or_a_codec_error(data: bytes) -> None:
    with contextlib.suppress(CodecError):
        check_avif(data, ImageLimits(max_pixels=10_000))


@settings(max_examples=150, deadline=None)
@given(data=damaged_files())
def test_what_passes_takes_no_more_pixels_than_the_limit(data: bytes) -> None:
    limits = ImageLimits(max_pixels=10_000)
    with contextlib.suppress(CodecError):
        pixels = decode_file(data, limits, adapt=True).pixels
        assert pixels.shape[0] * pixels.shape[1] <= limits.max_pixels
        assert pixels.dtype == np.uint8
