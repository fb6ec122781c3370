"""Images and streams in every form that users have them in."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from kompakt_client import Compressed
from kompakt_client._inputs import is_slow, to_image, to_stream
from tests.client.conftest import pixels

COMPRESSED = Compressed(
    data=b"stream",
    model="m",
    codec="m",
    fingerprint="f",
    profile="embedded",
    crc32c=7,
    bits_per_pixel=1.0,
    height=1,
    width=1,
    channels=1,
    fitted=False,
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(b"a file")
    return path


@pytest.mark.parametrize("make", [str, Path, os.fspath])
def test_a_path_is_read(file, make):
    assert to_image(make(file)).encoded == b"a file"
    assert to_stream(make(file)).data == b"a file"


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, io.BytesIO])
def test_bytes_and_binary_files_are_taken_as_they_are(make):
    assert to_image(make(b"a file")).encoded == b"a file"
    assert to_stream(make(b"a file")).data == b"a file"


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        to_image(tmp_path / "missing.png")


def test_a_text_file_is_refused():
    with pytest.raises(TypeError, match='open it with mode "rb"'):
        to_image(io.StringIO("text"))


@pytest.mark.parametrize("source", [None, 7, ["digit.png"]])
def test_other_things_are_refused(source):
    with pytest.raises(TypeError, match="an image must be a path, the bytes of a file"):
        to_image(source)
    with pytest.raises(TypeError, match="a stream must be what compress returned"):
        to_stream(source)


def test_a_compressed_image_brings_its_check():
    stream = to_stream(COMPRESSED)

    assert (stream.data, stream.crc32c) == (b"stream", 7)


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 9), st.integers(1, 9))
        | st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])),
    )
)
def test_arrays_are_sent_as_their_pixels(array):
    raw = to_image(array).raw

    sent = np.frombuffer(raw.data, np.uint8).reshape(raw.height, raw.width, raw.channels)
    assert np.array_equal(sent, array if array.ndim == 3 else array[..., None])


def test_strided_arrays_are_sent_in_order():
    array = pixels(0, 8, 6)[::2, ::-1]

    assert to_image(array).raw.data == array.tobytes()


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (np.zeros((4, 4), np.float32), "float32"),
        (np.zeros((4, 4), np.uint16), "uint16"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"\(2, 4, 4, 3\)"),
        (np.zeros((0, 4), np.uint8), r"\(0, 4\)"),
        (np.zeros((4, 0, 3), np.uint8), r"\(4, 0, 3\)"),
    ],
)
def test_other_arrays_are_refused_with_what_is_accepted(array, named):
    with pytest.raises(ValueError, match=rf"must be uint8 of shape .*, not .*{named}"):
        to_image(array)


def test_an_array_whose_pixels_are_masked_is_refused():
    array = np.ma.masked_array(pixels(0), mask=False)
    assert to_image(array).raw.data == pixels(0).tobytes()

    array[0, 0] = np.ma.masked
    with pytest.raises(ValueError, match="masked pixels have no value"):
        to_image(array)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_pil_image_whose_file_is_cut_is_an_os_error(mode):
    file = io.BytesIO()
    Image.fromarray(pixels(0)[..., 0]).convert(mode).save(file, "PNG")

    with pytest.raises(OSError, match="truncated"):
        to_image(Image.open(io.BytesIO(file.getvalue()[:-200])))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_plain_pil_images_are_sent_as_pixels(mode, channels):
    image = Image.frombytes(mode, (3, 2), bytes(range(6 * channels)))

    raw = to_image(image).raw

    assert (raw.height, raw.width, raw.channels) == (2, 3, channels)
    assert raw.data == bytes(range(6 * channels))


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "I;16"])
def test_other_pil_images_are_sent_as_png(mode):
    encoded = to_image(Image.new(mode, (3, 2))).encoded

    opened = Image.open(io.BytesIO(encoded))
    assert (opened.format, opened.mode, opened.size) == ("PNG", mode, (3, 2))


def test_a_pil_images_profile_is_not_sent():
    image = Image.new("RGBA", (3, 2))
    image.info["icc_profile"] = b"a profile"

    with Image.open(io.BytesIO(to_image(image).encoded)) as sent:
        assert "icc_profile" not in sent.info


def test_a_pil_image_that_png_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="mode CMYK cannot be sent: convert it to L or RGB"):
        to_image(Image.new("CMYK", (3, 2)))


def test_only_files_and_encoding_leave_the_event_loop(file):
    assert is_slow(file)
    assert is_slow(io.BytesIO())
    assert is_slow(Image.new("L", (1, 1)))
    assert not is_slow(b"a file")
    assert not is_slow(pixels(0))
    assert not is_slow(COMPRESSED)
