"""The hyperprior's entropy path against the specification in integers of any size."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from kompakt_codec.entropy import EntropyTables, frequencies_from_counts, max_payload
from kompakt_codec.errors import CheckpointError, CorruptStreamError, InvalidStreamError
from kompakt_codec.hyper_coder import HyperEntropy
from kompakt_codec.integer_conv import IntegerConv
from kompakt_codec.models import HyperPrior
from kompakt_codec.table_coder import TableEntropy
from tests.codec.hyper_reference import (
    LEVELS,
    random_entropy,
    random_symbols,
    reference_payload,
)

CHANNELS = 3
SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(1, 5), st.integers(1, 4))
ENTROPY = random_entropy(0)
SPATIAL = random_entropy(3, spatial=2)


@settings(deadline=None, max_examples=25)
@given(
    seed=SEEDS,
    size=SIZES,
    groups=st.sampled_from([(1, 2), (3,), (1, 1, 1)]),
    spatial=st.integers(0, 2),
)
def test_payloads_are_the_specifications(seed, size, groups, spatial):
    entropy = random_entropy(seed, groups=groups, spatial=min(spatial, len(groups)))
    levels = [0, 1, 0.125 + seed % 7 / 8, 0.5]
    symbols = random_symbols(seed, len(levels), (CHANNELS, *size))
    payloads = entropy.encode(symbols, levels)
    assert payloads == [
        reference_payload(entropy, one, level) for level, one in zip(levels, symbols, strict=True)
    ]


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, size=SIZES, count=st.integers(1, 6), spatial=st.integers(0, 2))
def test_symbols_come_back_whatever_the_batch(seed, size, count, spatial):
    entropy = random_entropy(seed, spatial=spatial)
    shape = (CHANNELS, *size)
    symbols = random_symbols(seed, count, shape)
    levels = [i % (8 * LEVELS - 7) / 8 for i in range(count)]
    payloads = entropy.encode(symbols, levels)
    assert np.array_equal(entropy.decode(payloads, levels, shape), symbols)
    for one, payload, level in zip(symbols, payloads, levels, strict=True):
        assert entropy.encode(one[None], [level]) == [payload]
        assert np.array_equal(entropy.decode([payload], [level], shape)[0], one)


def test_a_batch_of_more_than_a_chunk_is_that_of_its_images(monkeypatch):
    symbols = random_symbols(1, 5, (CHANNELS, 3, 2))
    levels = [0, 1, 1, 0, 1]
    payloads = ENTROPY.encode(symbols, levels)
    monkeypatch.setattr("kompakt_codec.entropy._CHUNK_SYMBOLS", 40)
    assert ENTROPY.encode(symbols, levels) == payloads
    assert np.array_equal(ENTROPY.decode(payloads, levels, (CHANNELS, 3, 2)), symbols)


def test_one_and_two_threads_decode_the_same():
    entropy = random_entropy(2, groups=(4, 8, 12), units=24, side=6, spatial=2)
    shape = (24, 7, 9)
    symbols = random_symbols(2, 8, shape)
    payloads = entropy.encode(symbols, [1] * 8)
    for count in (1, 2):
        with threadpool_limits(count):  # of BLAS, which multiplies the integers
            assert np.array_equal(entropy.decode(payloads, [1] * 8, shape), symbols)


@settings(deadline=None, max_examples=80)
@given(
    entropy=st.sampled_from([ENTROPY, SPATIAL]),
    payload=st.binary(max_size=90),
    level=st.integers(0, LEVELS - 1),
    size=SIZES,
)
def test_any_bytes_give_symbols_or_a_typed_error(entropy, payload, level, size):
    (result,) = entropy.decode([payload], [level], (CHANNELS, *size))
    if isinstance(result, np.ndarray):
        assert result.shape == (CHANNELS, *size)
        assert np.abs(result).max() <= 1023
    else:
        assert isinstance(result, (CorruptStreamError, InvalidStreamError))


@settings(deadline=None, max_examples=60)
@given(
    entropy=st.sampled_from([ENTROPY, SPATIAL]),
    seed=SEEDS,
    flips=st.lists(st.integers(0, 10**6), min_size=1, max_size=4),
)
def test_flipped_bits_fail_without_their_neighbours(entropy, seed, flips):
    symbols = random_symbols(seed, 2, (CHANNELS, 2, 3))
    first, second = entropy.encode(symbols, [0, 1])
    damaged = bytearray(first)
    for flip in flips:
        damaged[flip % len(damaged)] ^= 1 << flip % 8
    result, sound = entropy.decode([bytes(damaged), second], [0, 1], (CHANNELS, 2, 3))
    assert isinstance(result, (np.ndarray, CorruptStreamError))
    assert np.array_equal(sound, symbols[1])


def test_a_payload_over_the_limit_fails_without_its_neighbours():
    shape = (CHANNELS, 2, 2)
    symbols = random_symbols(5, 1, shape)
    sound = ENTROPY.encode(symbols, [1])[0]
    limit = 16 + 8 * 12 + 4 * 2
    over, within, second = ENTROPY.decode([bytes(limit + 1), bytes(limit), sound], [0, 0, 1], shape)
    assert isinstance(over, InvalidStreamError)
    assert not isinstance(within, InvalidStreamError)
    assert np.array_equal(second, symbols[0])


@pytest.mark.parametrize("size", [(1, 1), (5, 4)])
def test_the_dearest_payload_is_within_the_limit(size):
    side = 20
    entropy = random_entropy(6, groups=(1, 1), side=side)
    layers = {name: with_shifts(layer, 0) for name, layer in entropy.layers.items()}
    layers["h_a.2"] = with_shifts(layers["h_a.2"], -(1 << 40))
    layers["last.0"] = with_shifts(layers["last.0"], (1 << 40, -(1 << 40)))
    layers["last.1"] = with_shifts(layers["last.1"], (1 << 40, -(1 << 40)))
    rare = EntropyTables(
        shape=(side, 1, 1),
        minimums=[0] * side,
        frequencies=[np.array([1, 2**24 - 1], np.uint32)] * side,
    )
    dearest = HyperEntropy(layers=layers, side=TableEntropy([rare] * LEVELS), lookup=entropy.lookup)
    symbols = np.full((1, 2, *size), -1023, np.int16)
    payload = dearest.encode(symbols, [0])[0]
    assert np.array_equal(dearest.decode([payload], [0], (2, *size))[0], symbols[0])
    z = (side, (size[0] + 1) // 2, (size[1] + 1) // 2)
    assert len(payload) > 0.7 * max_payload((2, *size), z) - 16


def with_shifts(layer: IntegerConv, value: int | tuple[int, int]) -> IntegerConv:
    shifts = np.empty_like(layer.shifts)
    shifts[:] = value
    return IntegerConv(weight=layer.weight, shifts=shifts, largest_input=layer.largest_input)


def test_latents_are_clipped_to_what_can_be_coded():
    latents = np.array([-9e9, -1023.4, 0.5, 1.5, 4000, np.nan], np.float32).reshape(1, 6, 1, 1)
    assert ENTROPY.quantise(latents, [0]).ravel().tolist() == [-1023, -1023, 0, 2, 1023, -1023]


@pytest.mark.parametrize("entropy", [ENTROPY, SPATIAL])
def test_a_saved_path_is_the_same_path(entropy):
    again = HyperEntropy.from_tensors(entropy.tensors(), levels=LEVELS)
    assert again.fingerprint == entropy.fingerprint
    symbols = random_symbols(8, 2, (CHANNELS, 3, 3))
    assert again.encode(symbols, [0, 1]) == entropy.encode(symbols, [0, 1])


@pytest.mark.parametrize("spatial", [0, 1])
def test_every_number_of_the_path_is_in_its_fingerprint(spatial):
    tensors = random_entropy(9, spatial=spatial).tensors()
    assert set(tensors) > {"exp", "sigmoid", "minimums", "frequencies", "before.0.weight"}
    changes = {key: (-1, 1) for key in tensors if key != "lengths"}
    changes |= {"exp": (-1, -1), "sigmoid": (2048, 1)}
    fingerprints = {random_entropy(9, spatial=spatial).fingerprint}
    for key, (place, change) in changes.items():
        changed = tensors[key].clone()
        changed.view(-1)[place] += change
        if key == "frequencies":  # the sum of the last table stays
            changed[-2] -= change
        made = HyperEntropy.from_tensors({**tensors, key: changed}, levels=LEVELS)
        fingerprints.add(made.fingerprint)
    assert len(fingerprints) == len(tensors)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("h_a.2.shifts", None),
        ("h_a.2.shifts", torch.zeros(2, dtype=torch.int64)),
        ("h_a.2.shifts", torch.zeros((2, 0), dtype=torch.int64)),
        ("h_a.2.shifts", torch.zeros((0, 2), dtype=torch.int64)),
        ("h_a.2.shifts", torch.zeros((1, 2), dtype=torch.int64)),
        ("h_a.2.shifts", torch.zeros((2, 300), dtype=torch.int64)),
        ("h_a.1.shifts", torch.full((2, 3), -(2**63))),
        ("h_a.1.shifts", torch.zeros((2, 3), dtype=torch.int32)),
        ("h_a.0.weight", None),
        ("h_a.0.weight", torch.zeros((3, 0, 3, 3), dtype=torch.int16)),
        ("h_a.0.weight", torch.zeros((3, 4, 3, 3), dtype=torch.int16)),
        ("h_a.0.weight", torch.zeros((3, 3, 3, 3), dtype=torch.int32)),
        ("h_s.1.weight", torch.zeros((3, 3, 4, 4), dtype=torch.int16)),
        ("h_s.1.weight", torch.zeros((3, 3, 3), dtype=torch.int16)),
        ("h_s.1.weight", torch.zeros((0, 3, 3, 3), dtype=torch.int16)),
        ("h_s.1.weight", torch.zeros((3, 3, 3, 2), dtype=torch.int16)),
        ("mixed.1.weight", None),
        ("other.weight", torch.zeros((3, 3, 1, 1), dtype=torch.int16)),
        ("near.1.weight", None),
        ("near.6.weight", torch.zeros((3, 1, 3, 3), dtype=torch.int16)),
        ("near.0.weight", torch.zeros((3, 2, 3, 3), dtype=torch.int16)),
        ("near_mixed.0.weight", torch.zeros((3, 2, 1, 1), dtype=torch.int16)),
        ("near_last.5.weight", torch.zeros((2, 3, 1, 1), dtype=torch.int16)),
        ("last.0.weight", torch.zeros((3, 3, 1, 1), dtype=torch.int16)),
        ("last.0.weight", torch.zeros((4, 3, 1, 1), dtype=torch.int16)),
        ("exp", torch.ones(7, dtype=torch.int32)),
        ("sigmoid", None),
        ("minimums", torch.zeros(3, dtype=torch.int32)),
        ("minimums", torch.full((4,), 2**15, dtype=torch.int32)),
        ("lengths", torch.ones((4,), dtype=torch.int32)),
        ("frequencies", torch.ones(4, dtype=torch.int64)),
    ],
)
def test_damaged_paths_are_refused(key, value):
    tensors = {**SPATIAL.tensors(), key: value}
    with pytest.raises(CheckpointError):
        HyperEntropy.from_tensors(
            {name: tensor for name, tensor in tensors.items() if tensor is not None}, levels=LEVELS
        )


def test_a_path_of_too_many_units_or_levels_is_refused():
    with pytest.raises(CheckpointError, match="out of range"):
        random_entropy(11, units=513)
    side = TableEntropy(ENTROPY.side.tables[:1])
    with pytest.raises(CheckpointError, match="every level"):
        HyperEntropy(layers=ENTROPY.layers, side=side, lookup=ENTROPY.lookup)


@pytest.mark.parametrize("spatial", [0, 2])
@pytest.mark.parametrize("size", [(4, 6), (3, 5), (1, 1)])
def test_the_training_prior_and_its_integers_agree_in_rate(size, spatial):
    torch.manual_seed(0)
    prior = HyperPrior(7, side=3, units=8, groups=3, levels=LEVELS, spatial=spatial).eval()
    for parameter in prior.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    prior.h_a[2].conv.weight.data.mul_(20)  # z of many values
    entropy = HyperEntropy.freeze(prior, side_tables(prior))
    rng = np.random.default_rng(12)
    symbols = np.rint(rng.normal(0, 1.5, (100, 7, *size))).astype(np.int16)
    y = torch.from_numpy(symbols).float()
    level = torch.ones(100, dtype=torch.int64)
    with torch.no_grad():
        estimated = prior.bits(y, y, level).mean().item()
        z = torch.round(prior.side_information(y, level)).numpy()
    assert (entropy.side_information(symbols, [1] * 100) == z).mean() > 0.95
    assert len(np.unique(z)) > 2
    real = 8 * float(np.mean([len(p) for p in entropy.encode(symbols, [1] * 100)]))
    assert 0.995 * estimated - 2 < real < 1.005 * estimated + 8


def side_tables(prior: HyperPrior, reach: int = 30) -> TableEntropy:
    """What the training prior says of z, as tables: each channel apart, all others at zero."""
    values = torch.arange(-reach, reach + 1).float()
    tables = []
    for level in range(prior.levels):
        frequencies = []
        for channel in range(prior.side_channels):
            z = torch.zeros(len(values), prior.side_channels, 1, 1)
            z[:, channel, 0, 0] = values
            with torch.no_grad():
                bits = prior.side.bits(z, z, torch.full((len(values),), level)).double().numpy()
            mass = 2.0 ** (bits.min() - bits)
            frequencies.append(frequencies_from_counts(np.rint(mass * 1e9).astype(np.int64)))
        tables.append(
            EntropyTables(
                shape=(prior.side_channels, 1, 1),
                minimums=[-reach] * prior.side_channels,
                frequencies=frequencies,
            )
        )
    return TableEntropy(tables)
