"""The network of scales against PyTorch, and Gaussian tables against their definition."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from kompakt_codec.errors import CheckpointError
from kompakt_codec.scale_coder import ScaleTables, gaussian_tables
from kompakt_codec.scale_network import ScaleNetwork, upsampling_taps
from tests.codec.gaussian_reference import random_entropy, reference_scales

SCALES = np.geomspace(0.11, 256, 64)


def random_layers(rng: np.random.Generator, size: float = 0.2) -> list[tuple[np.ndarray, ...]]:
    shapes = [(5, 4, 5, 5), (4, 6, 5, 5), (3, 6, 3, 3)]
    outputs = (4, 6, 3)
    return [
        (rng.normal(0, size, shape), rng.normal(0, size, n))
        for shape, n in zip(shapes, outputs, strict=True)
    ]


def in_floats(layers, z: np.ndarray, slope: float) -> np.ndarray:
    parameters = [(torch.from_numpy(weight), torch.from_numpy(bias)) for weight, bias in layers]
    h = torch.from_numpy(z).double()
    for weight, bias in parameters[:2]:
        h = functional.conv_transpose2d(h, weight, bias, 2, padding=2, output_padding=1)
        h = functional.leaky_relu(h, slope)
    return functional.conv2d(h, *parameters[2], padding=1).numpy()


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), slope=st.sampled_from([0.0, 0.01, 1.0]))
def test_scales_are_those_of_the_float_network(seed, slope):
    rng = np.random.default_rng(seed)
    layers, medians = random_layers(rng), rng.normal(0, 0.5, 5)
    z = np.rint(rng.normal(0, 3, (2, 5, 2, 3)))
    expected = in_floats(layers, z + medians[:, None, None], slope)
    made = ScaleNetwork.freeze(layers, slope=slope, medians=medians)(z.astype(np.int16))
    assert made.shape == (2, 3, 8, 12)
    np.testing.assert_allclose(made / 4096, expected, atol=0.01, rtol=1e-3)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_scales_are_the_specifications(seed):
    network = random_entropy(seed).network
    z = np.random.default_rng(seed).integers(-300, 300, (1, 3, 1, 2)).astype(np.int16)
    assert network(z)[0].tolist() == reference_scales(network, z[0].tolist())


def test_taps_and_a_shuffle_are_a_transposed_convolution():
    weight = torch.randn(3, 2, 5, 5, dtype=torch.float64)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    expected = functional.conv_transpose2d(x, weight, stride=2, padding=2, output_padding=1)
    taps = torch.from_numpy(upsampling_taps(weight.numpy()))
    made = functional.pixel_shuffle(functional.conv2d(x, taps, padding=1), 2)
    assert torch.allclose(made, expected)


def test_weights_take_as_many_bits_as_stay_exact():
    small, large = (
        ScaleNetwork.freeze(
            random_layers(np.random.default_rng(0), size), slope=0, medians=np.zeros(5)
        )
        for size in (0.01, 100.0)
    )
    assert all(np.abs(layer.weight).max() > 1 << 13 for layer in (*small.layers, *large.layers))
    assert min(small.bits) > max(large.bits) >= 1


def test_weights_that_no_integers_hold_are_refused():
    layers = random_layers(np.random.default_rng(0), 1e6)
    with pytest.raises(CheckpointError, match="too large to be exact"):
        ScaleNetwork.freeze(layers, slope=0, medians=np.zeros(5))


def test_tables_hold_the_gaussians_mass():
    tables = gaussian_tables(SCALES.tolist())
    for scale, low, table in zip(SCALES, tables.minimums, tables.frequencies, strict=True):
        assert np.array_equal(table, table[::-1]) or abs(int(table[0]) - int(table[-1])) <= 1
        for k in (0, 1, -low // 2):
            edges = [(k + half) / (scale * math.sqrt(2)) for half in (-0.5, 0.5)]
            mass = 0.5 * (math.erf(edges[1]) - math.erf(edges[0]))
            assert abs(table[k - low] / 2**24 - mass) < 2e-4 * mass + 2**-23


def test_the_nearest_scale_is_chosen():
    between = np.rint(np.sqrt(SCALES[:-1] * SCALES[1:]) * 4096).astype(np.int32)
    tables = ScaleTables(gaussian_tables(SCALES.tolist()), between)
    asked = np.array([-5000, 0, 0.11, 0.114, 0.118, 1, 255, 10_000])
    rows = tables.rows((asked * 4096).astype(np.int64))
    distance = np.abs(np.log(SCALES)[None] - np.log(np.maximum(asked, 1e-9))[:, None])
    assert rows.tolist() == distance.argmin(1).tolist()
