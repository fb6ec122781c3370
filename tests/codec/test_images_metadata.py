"""EXIF and XMP: read, settled to the upright picture, and written to files."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from kompakt_codec.errors import UnsupportedImageError, WrongSizeError
from kompakt_codec.images import (
    MAX_EXIF_BYTES,
    MAX_XMP_BYTES,
    NO_METADATA,
    FileFormat,
    Metadata,
    decode_file,
    encode_image,
)
from kompakt_codec.images._exif import settle_exif
from tests.codec.icc_profiles import ADOBE_RGB, rgb_profile
from tests.codec.image_files import GREY_RAMP, RGB_RAMP, grey, rgb

Base, IFD = ExifTags.Base, ExifTags.IFD
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6">caf\xc3\xa9</x:xmpmeta>'
WITH_EXIF = ["JPEG", "PNG", "WebP", "AVIF", "TIFF"]
KEEPERS = [FileFormat.PNG, FileFormat.WEBP, FileFormat.JPEG]


def camera_exif() -> bytes:
    exif = Image.Exif()
    exif[Base.Make] = "Maker"
    exif[Base.Orientation] = 6
    exif[IFD.Exif] = {Base.ISOSpeedRatings: 200, Base.ColorSpace: 65535}
    exif[IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    return exif.tobytes()


def metadata_of(data: bytes) -> Metadata:
    return decode_file(data, keep_metadata=True).metadata


def exif_in(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + block)
    return exif


@pytest.mark.parametrize("file_format", WITH_EXIF)
def test_exif_is_kept_with_the_orientation_1(file_format):
    exif = exif_in(metadata_of(rgb(file_format, exif=camera_exif())).exif)

    assert exif[Base.Make] == "Maker"
    assert exif.get(Base.Orientation, 1) == 1
    assert exif.get_ifd(IFD.Exif)[Base.ISOSpeedRatings] == 200
    assert exif.get_ifd(IFD.Exif)[Base.ColorSpace] == 65535
    assert exif.get_ifd(IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"


def test_a_tiffs_own_tags_are_not_kept():
    exif = exif_in(metadata_of(rgb("TIFF", exif=camera_exif())).exif)

    assert set(exif) == {Base.Make, IFD.Exif, IFD.GPSInfo}


def test_nothing_is_kept_unless_it_is_asked_for():
    assert decode_file(rgb("JPEG", exif=camera_exif(), xmp=XMP)).metadata == NO_METADATA


@pytest.mark.parametrize("data", [grey("PNG"), grey("GIF"), grey("BMP"), grey("TIFF"), rgb("AVIF")])
def test_files_without_metadata_have_none(data):
    assert not metadata_of(data)


@pytest.mark.parametrize("file_format", ["JPEG", "WebP", "AVIF"])
def test_xmp_is_kept_with_the_orientation_1(file_format):
    kept = metadata_of(rgb(file_format, xmp=XMP))

    assert kept == Metadata(xmp=XMP.replace(b'"6"', b'"1"'))


def test_a_tiffs_xmp_is_kept_without_the_orientation():
    kept = metadata_of(rgb("TIFF", tiffinfo={700: XMP}))

    assert kept == Metadata(xmp=XMP.replace(b'tiff:Orientation="6"', b""))


def test_an_applied_profile_makes_the_colour_space_srgb():
    data = rgb("JPEG", exif=camera_exif(), icc_profile=rgb_profile(ADOBE_RGB, 2.2))

    exif = exif_in(metadata_of(data).exif)

    assert exif.get_ifd(IFD.Exif)[Base.ColorSpace] == 1


def with_thumbnail(thumbnail: bytes, after: bytes, order: str = "<") -> bytes:
    """A block with an orientation and a maker's note that is no EXIF reader's to understand."""

    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        # A SHORT lies in the first two of the value's bytes.
        packed = struct.pack(
            order + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,))
        )
        return struct.pack(order + "HHI", tag, kind, count) + packed

    first, second = 8, 8 + 2 + 24 + 4
    start = second + 2 + 24 + 4
    note = start + len(thumbnail)
    head = b"II*\0" if order == "<" else b"MM\0*"
    parts = [
        head + struct.pack(order + "I", first),
        struct.pack(order + "H", 2),
        entry(0x0112, 3, 1, 8) + entry(0x927C, 7, len(after), note),
        struct.pack(order + "I", second) + struct.pack(order + "H", 2),
        entry(0x0201, 4, 1, start) + entry(0x0202, 4, 1, len(thumbnail)) + bytes(4),
    ]
    return b"".join(parts) + thumbnail + after


@pytest.mark.parametrize("order", "<>")
def test_a_thumbnail_is_cut_off_or_blanked(order):
    last = settle_exif(with_thumbnail(b"T" * 500, b"", order), now_srgb=False)
    within = settle_exif(with_thumbnail(b"T" * 500, b"note", order), now_srgb=False)

    assert len(last) == len(with_thumbnail(b"", b""))
    assert within[len(last) :] == bytes(500) + b"note"
    for block in (last, within):
        assert exif_in(block)[Base.Orientation] == 1
        assert exif_in(block).get_ifd(IFD.IFD1) == {}


@pytest.mark.parametrize(
    "block", [b"", b"garbage", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0"]
)
def test_a_broken_block_is_left_out(block):
    assert metadata_of(grey("PNG", exif=b"Exif\0\0" + block)).exif == b""


blocks = st.builds(
    lambda sound, changes, length: bytes(
        changes.get(i, byte) for i, byte in enumerate(sound[:length])
    ),
    st.sampled_from([camera_exif()[6:], with_thumbnail(b"T" * 50, b"note", ">")]),
    st.dictionaries(st.integers(0, 140), st.integers(0, 255), max_size=8),
    st.integers(0, 200),
)


@settings(max_examples=500)
@given(block=blocks | st.binary(max_size=60).map(lambda rest: b"II*\0" + rest))
def test_any_block_is_settled_once_and_for_all(block):
    settled = settle_exif(block, now_srgb=True)

    assert len(settled) <= len(block)
    assert metadata_of(grey("PNG", exif=b"Exif\0\0" + block)).exif in (
        b"",
        settle_exif(block, now_srgb=False),
    )


@pytest.mark.parametrize(
    "options",
    [
        {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0" + bytes(MAX_EXIF_BYTES)},
        {"exif": camera_exif(), "xmp": bytes(MAX_XMP_BYTES + 1)},
    ],
)
def test_too_much_metadata_is_refused_only_if_it_is_to_be_kept(options):
    data = rgb("WebP", **options)
    decode_file(data)

    with pytest.raises(UnsupportedImageError, match="over the limit of 65"):
        decode_file(data, keep_metadata=True)


@pytest.mark.parametrize("file_format", KEEPERS)
@pytest.mark.parametrize("picture", [GREY_RAMP, RGB_RAMP])
def test_what_is_written_is_read_again(file_format, picture):
    exif = settle_exif(camera_exif()[6:], now_srgb=False)
    metadata = Metadata(exif=exif, xmp=XMP.replace(b'"6"', b'"1"'))

    data = encode_image(np.atleast_3d(picture), file_format, metadata)

    decoded = decode_file(data, keep_metadata=True)
    assert decoded.metadata == metadata
    assert decoded.pixels.shape[:2] == (12, 20)
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[Base.Make] == "Maker"


@pytest.mark.parametrize("file_format", KEEPERS)
def test_metadata_at_its_limits_fits_every_file(file_format):
    metadata = Metadata(
        exif=(b"II*\0\x08\0\0\0" + bytes(MAX_EXIF_BYTES))[:MAX_EXIF_BYTES],
        xmp=b"x" * MAX_XMP_BYTES,
    )

    data = encode_image(GREY_RAMP[..., np.newaxis], file_format, metadata)

    assert decode_file(data, keep_metadata=True).metadata == metadata


@pytest.mark.parametrize("file_format", [FileFormat.BMP, FileFormat.TIFF])
def test_bmp_and_tiff_leave_it_out(file_format):
    data = encode_image(RGB_RAMP, file_format, Metadata(xmp=XMP))

    assert data == encode_image(RGB_RAMP, file_format)


def test_a_jpeg_loses_little():
    smooth = np.asarray(Image.fromarray(RGB_RAMP).resize((80, 48), Image.Resampling.BICUBIC))

    decoded = decode_file(encode_image(smooth, FileFormat.JPEG)).pixels

    assert 0 < np.abs(decoded.astype(int) - smooth).mean() < 3


def test_a_jpeg_refuses_what_it_cannot_hold():
    with pytest.raises(WrongSizeError, match="65500 pixels a side"):
        encode_image(np.zeros((1, 65_501, 1), np.uint8), FileFormat.JPEG)
