"""The classical codecs: lossless ones lose nothing, lossy ones keep within their bound."""

import io
import sys
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, features
from sklearn.datasets import load_sample_images

from kompakt_codec.baselines import (
    BASELINES,
    LossyBaseline,
    decode_baseline,
    encode_at_mse,
    encode_lossless,
    measure,
)
from kompakt_codec.baselines._search import Trial, smallest_file
from kompakt_codec.errors import BaselineUnavailableError, WrongSizeError
from kompakt_codec.images import Pixels
from kompakt_codec.metrics import mse, psnr_db, ssim

LOSSY = [name for name, baseline in BASELINES.items() if isinstance(baseline, LossyBaseline)]
LOSSLESS = [name for name in BASELINES if name not in LOSSY]
PHOTO: Pixels = load_sample_images().images[1][200:232, 200:240]
NOISE: Pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)

images = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]))
)


def test_the_names_are_those_of_the_contract_and_jpeg_2000() -> None:
    assert LOSSLESS == ["zip", "deflate", "png", "webp-lossless"]
    assert LOSSY == ["jpeg", "webp", "avif", "jpeg-xl", "jpeg-2000"]


@settings(deadline=None)
@given(name=st.sampled_from(LOSSLESS), pixels=images)
def test_lossless_baselines_lose_nothing(name: str, pixels: Pixels) -> None:
    encoded = encode_lossless(name, pixels)

    np.testing.assert_array_equal(decode_baseline(name, encoded.data, pixels.shape), pixels)


def test_zip_is_an_archive_around_the_raw_deflate_stream(digits: Pixels) -> None:
    archive = encode_lossless("zip", digits[0]).data
    stream = encode_lossless("deflate", digits[0]).data

    assert zipfile.ZipFile(io.BytesIO(archive)).testzip() is None
    assert stream in archive
    assert len(archive) == len(stream) + 100


def test_lossless_files_are_the_same_every_time(digits: Pixels) -> None:
    for name in LOSSLESS:
        assert encode_lossless(name, digits[0]).data == encode_lossless(name, digits[0]).data


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(LOSSY), pixels=images, max_mse=st.sampled_from([0.0, 1e-4, 0.0027, 0.05])
)
def test_files_at_equal_quality_keep_within_the_bound(
    name: str, pixels: Pixels, max_mse: float
) -> None:
    encoded = encode_at_mse(name, pixels, max_mse)

    if encoded is not None:
        decoded = decode_baseline(name, encoded.data, pixels.shape)
        assert decoded.shape == pixels.shape
        assert mse(pixels, decoded) <= max_mse


@pytest.mark.parametrize(
    ("name", "num_digits"),
    [("jpeg", 20), ("webp", 20), ("avif", 4), ("jpeg-xl", 4), ("jpeg-2000", 4)],
)
def test_the_search_is_close_to_exhaustive(name: str, num_digits: int, digits: Pixels) -> None:
    baseline = BASELINES[name]
    assert isinstance(baseline, LossyBaseline)
    excess = []
    for digit in digits[:num_digits]:
        files = [baseline.encode(digit, quality, "") for quality in baseline.qualities]
        within = [f for f in files if mse(digit, baseline.decode(f, digit.shape)) <= 0.0027]
        encoded = encode_at_mse(name, digit, 0.0027)
        assert encoded is not None
        excess.append(len(encoded.data) / min(map(len, within)) - 1)

    assert np.mean(excess) < 0.01


@pytest.mark.parametrize("name", ["jpeg", "avif", "jpeg-xl", "jpeg-2000"])
def test_grey_stays_grey(name: str, digits: Pixels) -> None:
    encoded = encode_at_mse(name, digits[0], 0.0027)

    assert encoded is not None
    assert Image.open(io.BytesIO(encoded.data)).mode == "L"


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif"])
def test_a_bound_out_of_reach_gives_nothing(name: str) -> None:
    assert encode_at_mse(name, PHOTO, 0.0) is None
    assert measure(name, PHOTO, max_mse=0.0) is None


def test_jpeg_xl_reaches_every_bound_by_its_lossless_mode() -> None:
    measured = measure("jpeg-xl", PHOTO, max_mse=0.0)

    assert measured is not None
    assert measured.mse == 0.0
    assert measured.setting == "quality=100"


@pytest.mark.parametrize("name", ["jpeg", "avif"])
def test_full_chroma_is_used_where_it_is_needed(name: str) -> None:
    coarse, fine = (encode_at_mse(name, PHOTO, bound) for bound in (0.02, 0.0001))

    assert coarse is not None
    assert fine is not None
    assert "4:2:0" in coarse.setting
    assert "4:4:4" in fine.setting


def test_jpeg_2000_is_a_bare_codestream_with_the_colours_decorrelated() -> None:
    encoded = encode_at_mse("jpeg-2000", PHOTO, 0.001)

    assert encoded is not None
    assert encoded.data.startswith(b"\xff\x4f\xff\x51")
    assert b"OpenJPEG" not in encoded.data
    style = encoded.data.index(b"\xff\x52")
    assert encoded.data[style + 8] == 1  # of T.800's COD: a multiple component transform
    assert encoded.data[style + 13] == 0  # the irreversible 9/7 wavelet


@pytest.mark.parametrize("quality", [30, 60])
def test_jpeg_2000_comes_close_to_the_psnr_that_its_quality_names(quality: int) -> None:
    baseline = BASELINES["jpeg-2000"]
    assert isinstance(baseline, LossyBaseline)
    pixels: Pixels = load_sample_images().images[0][:128, :160]

    data = baseline.encode(pixels, quality, "")

    found = psnr_db(mse(pixels, baseline.decode(data, pixels.shape)))
    assert found == pytest.approx(20 + 0.3 * quality, abs=1.5)


def test_noise_does_not_overflow_the_jpeg_encoder() -> None:
    encoded = encode_at_mse("jpeg", NOISE, 2e-5)

    assert encoded is not None
    assert len(encoded.data) > 2 * NOISE.shape[0] * NOISE.shape[1]


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("colour", [False, True])
def test_what_is_measured_is_the_decoded_file(name: str, colour: bool, digits: Pixels) -> None:
    pixels = PHOTO if colour else digits[3]
    max_mse = 0.0027 if name in LOSSY else None

    measured = measure(name, pixels, max_mse=max_mse)
    encoded = (
        encode_lossless(name, pixels) if max_mse is None else encode_at_mse(name, pixels, max_mse)
    )

    assert measured is not None
    assert encoded is not None
    decoded = decode_baseline(name, encoded.data, pixels.shape)
    assert measured.codec == name
    assert measured.setting == encoded.setting
    assert measured.size_bytes == len(encoded.data)
    assert measured.mse == mse(pixels, decoded)
    assert measured.psnr_db == psnr_db(measured.mse)
    assert measured.ssim == ssim(pixels, decoded)
    assert measured.encode_seconds > 0
    assert measured.decode_seconds > 0


def test_images_too_long_for_a_format_are_left_out() -> None:
    pixels = np.zeros((1, 16_384, 1), np.uint8)

    assert measure("webp", pixels, max_mse=0.1) is None
    assert measure("webp-lossless", pixels) is None
    with pytest.raises(WrongSizeError, match="16383 pixels a side"):
        encode_lossless("webp-lossless", pixels)


def test_jpeg_is_left_out_where_its_library_stops() -> None:
    assert measure("jpeg", np.zeros((65_501, 1, 1), np.uint8), max_mse=0.01) is None
    assert encode_at_mse("jpeg", np.zeros((65_500, 1, 1), np.uint8), 0.01) is not None


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("most", [600, 10])
def test_pillow_s_own_bound_on_pixels_does_not_hold(
    name: str, channels: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A size that is known needs none; over the bound Pillow warns, over its double it raises."""
    pixels = np.ascontiguousarray(PHOTO[:30, :30, :channels])
    lossless = name in LOSSLESS
    encoded = encode_lossless(name, pixels) if lossless else encode_at_mse(name, pixels, 0.005)
    assert encoded is not None
    before = decode_baseline(name, encoded.data, pixels.shape)

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)

    np.testing.assert_array_equal(decode_baseline(name, encoded.data, pixels.shape), before)
    assert before.shape == pixels.shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measure("gif", PHOTO), "choose from zip, deflate"),
        (lambda: encode_lossless("jpeg", PHOTO), "give the MSE"),
        (lambda: measure("webp", PHOTO), "give the MSE"),
        (lambda: encode_at_mse("png", PHOTO, 0.1), "no quality"),
        (lambda: measure("zip", PHOTO, max_mse=0.1), "no quality"),
    ],
)
def test_wrong_calls_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_missing_plugin_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)

    with pytest.raises(BaselineUnavailableError, match="pip install pillow-jxl-plugin"):
        measure("jpeg-xl", PHOTO, max_mse=0.0027)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda feature: feature != "avif")

    with pytest.raises(BaselineUnavailableError, match="AVIF"):
        measure("avif", PHOTO, max_mse=0.0027)


def search(sizes: list[int], errors: list[float], max_mse: float) -> tuple[int | None, int]:
    """The size that the search finds over these tables, and how many qualities it tried."""
    tried = []

    def trial_at(quality: int) -> Trial:
        tried.append(quality)
        return Trial(bytes(sizes[quality]), 0.0, errors[quality], "")

    found = smallest_file(trial_at, range(len(sizes)), max_mse)
    assert len(tried) == len(set(tried))
    return (len(found.data) if found else None), len(tried)


MONOTONIC = [1 / (quality + 1) for quality in range(101)]


@pytest.mark.parametrize("least", [0, 1, 50, 99, 100])
def test_search_finds_where_the_bound_is_met(least: int) -> None:
    size, num_tried = search(list(range(1, 102)), MONOTONIC, MONOTONIC[least])

    assert size == least + 1
    assert num_tried <= 14


@pytest.mark.parametrize("smaller", [47, 48, 49, 51, 52, 53, 56, 100])
def test_search_finds_a_smaller_neighbour(smaller: int) -> None:
    sizes, errors = list(range(1000, 1101)), [1.0] * 50 + [0.0] * 51
    sizes[smaller], errors[smaller] = 10, 0.0
    sizes[53] = min(sizes[53], 20)

    assert search(sizes, errors, 0.5)[0] == 10


def test_search_gives_up_where_no_quality_will_do() -> None:
    assert search([1, 2, 3], [0.3, 0.2, 0.1], 0.05) == (None, 1)
