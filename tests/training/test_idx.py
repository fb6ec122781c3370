import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kompakt_training.errors import TrainingError
from kompakt_training.idx import (
    MAX_IDX_BYTES,
    parse_idx_images,
    parse_idx_labels,
    read_idx_images,
)
from tests.training.helpers import digits, idx_bytes

images = hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3))


@given(pixels=images)
def test_pixels_come_back(pixels):
    assert np.array_equal(parse_idx_images(idx_bytes(pixels)), pixels)


@given(pixels=images, cut=st.integers(1, 300), extra=st.binary(min_size=1, max_size=9))
def test_a_wrong_length_is_refused(pixels, cut, extra):
    data = idx_bytes(pixels)

    for wrong in (data[:-cut], data + extra):
        with pytest.raises(TrainingError):
            parse_idx_images(wrong)


@given(data=st.binary(max_size=64), header=st.sampled_from([b"", b"\0\0\x08\x03"]))
def test_any_bytes_are_images_or_a_training_error(data, header):
    try:
        pixels = parse_idx_images(header + data)
    except TrainingError:
        return
    assert idx_bytes(pixels) == header + data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not an idx file"),
        (struct.pack(">4B3I", 0, 0, 9, 3, 1, 1, 1) + b"x", "not an idx file"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 0, 28, 28), "without images"),
        (struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3), "where its header says"),
    ],
)
def test_a_malformed_header_is_named(data, words):
    with pytest.raises(TrainingError, match=words):
        parse_idx_images(data)


def test_gzip_is_told_by_its_content_not_by_its_name(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(idx_bytes(digits(3))))

    assert np.array_equal(read_idx_images(path), digits(3)[..., 0])


@pytest.mark.parametrize("damage", [slice(0, -9), slice(0, 40)])
def test_a_cut_gzip_file_is_named(tmp_path, damage):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx_bytes(digits(3)))[damage])

    with pytest.raises(TrainingError, match=r"images\.gz: a damaged gzip file"):
        read_idx_images(path)


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("kompakt_training.idx.MAX_IDX_BYTES", 1000)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(bytes(10**6)))

    with pytest.raises(TrainingError, match="over 1000 bytes"):
        read_idx_images(path)
    assert MAX_IDX_BYTES > 60_016 * 28 * 28


@given(data=st.binary(max_size=40), count=st.integers(0, 40))
def test_labels_are_as_many_as_the_header_says_or_refused(data, count):
    file = struct.pack(">4BI", 0, 0, 8, 1, count) + data
    if count == len(data):
        assert parse_idx_labels(file).tolist() == list(data)
    else:
        with pytest.raises(TrainingError, match="labels where its header says"):
            parse_idx_labels(file)


@given(data=st.binary(max_size=40))
def test_any_other_bytes_are_no_labels(data):
    with pytest.raises(TrainingError):
        parse_idx_labels(data[:7])
    with pytest.raises(TrainingError, match="not an idx file of uint8 labels"):
        parse_idx_labels(b"\0\0\x08\x03" + data)
