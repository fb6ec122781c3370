"""Convolutions over whole numbers against PyTorch's, in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from kompakt_codec.errors import CheckpointError
from kompakt_codec.integer_conv import IntegerConv, shuffle


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    kernel=st.sampled_from([1, 2, 3]),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)) | st.just((45, 37)),
    inputs=st.integers(1, 5),
    outputs=st.integers(1, 5),
    largest=st.sampled_from([0, 1, 40, 512, 65536]),
)
def test_sums_are_those_of_pytorch(seed, kernel, size, inputs, outputs, largest):
    rng = np.random.default_rng(seed)
    weight = rng.integers(-(2**15), 2**15, (outputs, inputs, kernel, kernel)).astype(np.int16)
    shifts = rng.integers(-(2**40), 2**40, (2, outputs))
    x = rng.integers(-largest, largest + 1, (3, *size, inputs)).astype(np.float64)
    levels = [1, 0, 1]

    made = IntegerConv(weight=weight, shifts=shifts, largest_input=65536)(x, levels)

    planes = torch.from_numpy(x).permute(0, 3, 1, 2)
    if kernel == 2:
        planes = functional.pad(planes, (0, size[1] % 2, 0, size[0] % 2))
    expected = functional.conv2d(
        planes,
        torch.from_numpy(weight).double(),
        stride=2 if kernel == 2 else 1,
        padding=kernel // 2 if kernel != 2 else 0,
    )
    expected += torch.from_numpy(shifts[levels]).double()[:, :, None, None]
    assert np.array_equal(made, expected.permute(0, 2, 3, 1).numpy())
    if kernel == 3:
        for top, left in ((0, 0), (0, 1), (1, 0), (1, 1)):
            conv = IntegerConv(weight=weight, shifts=shifts, largest_input=65536)
            part = conv(x, levels, place=(top, left))
            assert np.array_equal(part, made[:, top::2, left::2])


def test_shuffle_is_that_of_pytorch():
    x = np.arange(2 * 3 * 5 * 12, dtype=np.float64).reshape(2, 3, 5, 12)
    expected = functional.pixel_shuffle(torch.from_numpy(x).permute(0, 3, 1, 2), 2)
    assert np.array_equal(shuffle(x, 2), expected.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize(
    ("weight", "shift", "largest"),
    [(1, 2**51, 1), (1, -(2**51), 1), (1, -(2**63), 1), (2**14, 0, 2**37), (-(2**15), 0, 2**36)],
)
def test_sums_that_might_be_inexact_are_refused(weight, shift, largest):
    with pytest.raises(CheckpointError, match="too large to be exact"):
        IntegerConv(
            weight=np.full((1, 1, 1, 1), weight, np.int16),
            shifts=np.full((1, 1), shift, np.int64),
            largest_input=largest,
        )


def test_sums_just_below_the_bound_are_exact():
    conv = IntegerConv(
        weight=np.full((1, 3, 1, 1), 2**14 - 1, np.int16),
        shifts=np.full((1, 1), 2**50 + 1, np.int64),
        largest_input=2**34 + 1,
    )
    x = np.full((1, 1, 1, 3), 2.0**34 + 1)
    assert int(conv(x, [0])[0, 0, 0, 0]) == 3 * (2**14 - 1) * (2**34 + 1) + 2**50 + 1


@pytest.mark.parametrize("last", [1, 2])
def test_sums_around_what_float32_holds_are_exact(last):
    weight = np.array([2**12, 2**12, 1], np.int16).reshape(1, 3, 1, 1)
    conv = IntegerConv(weight=weight, shifts=np.zeros((1, 1), np.int64), largest_input=2**12)
    x = np.array([2.0**11, 2.0**11, last])[None, None, None]  # 2**24 and one or two more
    assert int(conv(x, [0])[0, 0, 0, 0]) == 2**24 + last
    smaller = np.array([2.0**11, 2.0**11 - 1, last])[None, None, None]
    assert int(conv(smaller, [0])[0, 0, 0, 0]) == 2**24 - 2**12 + last


@pytest.mark.parametrize(
    ("weight", "shifts", "words"),
    [
        ((2, 1, 1), (1, 2), "weights"),
        ((2, 1, 3, 1), (1, 2), "weights"),
        ((2, 1, 4, 4), (1, 2), "kernel"),
        ((2, 1, 0, 0), (1, 2), "kernel"),
        ((2, 1, 1, 1), (2,), "kernel"),
        ((2, 1, 1, 1), (1, 3), "shift for each"),
        ((2, 1, 1, 1), (0, 2), "shift for each"),
    ],
)
def test_arrays_of_other_shapes_are_refused(weight, shifts, words):
    with pytest.raises(CheckpointError, match=words):
        IntegerConv(
            weight=np.zeros(weight, np.int16), shifts=np.zeros(shifts, np.int64), largest_input=1
        )
