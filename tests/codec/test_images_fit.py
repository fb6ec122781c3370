"""match_channels and fit_image: an image made to suit a model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kompakt_codec.errors import WrongSizeError
from kompakt_codec.images import Fit, Pixels, fit_image, match_channels

SCALING = [Fit.CONTAIN, Fit.COVER, Fit.STRETCH]
COLOUR = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]], np.uint8)
GREY = np.array([[[10], [200]], [[30], [90]]], np.uint8)
EQUAL = GREY.repeat(3, axis=2)

images = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))
)
sizes = st.integers(1, 40)


@pytest.mark.parametrize(
    ("pixels", "channels", "expected"),
    [(GREY, 1, GREY), (GREY, 3, EQUAL), (EQUAL, 1, GREY), (COLOUR, 3, COLOUR)],
)
def test_channels_are_matched_without_loss(pixels: Pixels, channels: int, expected: Pixels) -> None:
    np.testing.assert_array_equal(match_channels(pixels, channels), expected)


def test_colour_is_not_taken_for_grey() -> None:
    with pytest.raises(WrongSizeError, match=r"accepted: 1 channel \(grey\)"):
        match_channels(COLOUR, 1)


@pytest.mark.parametrize("mode", Fit)
@pytest.mark.parametrize(
    ("pixels", "channels", "expected"),
    [(GREY, 1, GREY), (GREY, 3, EQUAL), (EQUAL, 1, GREY), (COLOUR, 3, COLOUR)],
)
def test_what_suits_already_is_not_changed(
    pixels: Pixels, channels: int, expected: Pixels, mode: Fit
) -> None:
    fitted, changed = fit_image(pixels, 2, 2, channels, mode)

    np.testing.assert_array_equal(fitted, expected)
    assert not changed


@pytest.mark.parametrize(
    ("shape", "channels", "message"),
    [
        ((30, 20, 1), 1, "got 30x20x1 (height x width x channels), accepted: 28x28x1"),
        ((28, 28, 3), 1, "got 28x28x3 (height x width x channels), accepted: 28x28x1"),
        ((28, 29, 1), 3, "got 28x29x1 (height x width x channels), accepted: 28x28x3"),
    ],
)
def test_refusal_says_what_is_accepted(
    shape: tuple[int, int, int], channels: int, message: str
) -> None:
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)

    with pytest.raises(WrongSizeError) as caught:
        fit_image(pixels, 28, 28, channels)

    assert str(caught.value) == message


@pytest.mark.parametrize("mode", SCALING)
def test_colour_becomes_grey_by_luma(mode: Fit) -> None:
    fitted, changed = fit_image(COLOUR, 2, 2, 1, mode)

    np.testing.assert_array_equal(fitted[..., 0], [[76, 150], [29, 90]])
    assert changed


@pytest.mark.parametrize(
    ("mode", "lit_rows", "lit_columns"),
    [
        (Fit.CONTAIN, slice(7, 21), slice(0, 28)),
        (Fit.COVER, slice(0, 28), slice(0, 28)),
        (Fit.STRETCH, slice(0, 28), slice(0, 28)),
    ],
)
def test_a_wide_image_fills_what_its_mode_says(
    mode: Fit, lit_rows: slice, lit_columns: slice
) -> None:
    expected = np.zeros((28, 28, 1), np.uint8)
    expected[lit_rows, lit_columns] = 255

    fitted, changed = fit_image(np.full((20, 40, 1), 255, np.uint8), 28, 28, 1, mode)

    np.testing.assert_array_equal(fitted, expected)
    assert changed


def test_cover_cuts_the_overhang_off_evenly() -> None:
    stripes = np.repeat(np.array([0, 255, 255, 0], np.uint8), 28)
    pixels = np.tile(stripes, (56, 1))[..., np.newaxis]

    covered, _ = fit_image(pixels, 28, 28, 1, Fit.COVER)
    stretched, _ = fit_image(pixels, 28, 28, 1, Fit.STRETCH)

    assert covered[:, 2:-2].min() >= 250
    np.testing.assert_allclose(stretched[:, [0, 13, -1]].mean(axis=0)[:, 0], [0, 255, 0], atol=3)


@pytest.mark.parametrize("mode", SCALING)
@pytest.mark.parametrize("shape", [(1, 60_000, 1), (60_000, 1, 3)])
def test_extreme_aspect_ratios_keep_something_to_see(
    mode: Fit, shape: tuple[int, int, int]
) -> None:
    fitted, _ = fit_image(np.full(shape, 255, np.uint8), 28, 28, 1, mode)

    assert fitted.shape == (28, 28, 1)
    assert fitted.max() == 255


@given(
    pixels=images,
    height=sizes,
    width=sizes,
    channels=st.sampled_from([1, 3]),
    mode=st.sampled_from(SCALING),
)
def test_the_accepted_shape_comes_out(
    pixels: Pixels, height: int, width: int, channels: int, mode: Fit
) -> None:
    fitted, changed = fit_image(pixels, height, width, channels, mode)

    assert fitted.shape == (height, width, channels)
    assert fitted.dtype == np.uint8
    assert changed or pixels.shape[:2] == (height, width)
    np.testing.assert_array_equal(fit_image(fitted, height, width, channels)[0], fitted)
