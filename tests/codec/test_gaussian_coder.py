"""The entropy path of imported hyperpriors against the specification in integers of any size."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from kompakt_codec.entropy import EntropyTables, frequencies_from_counts, max_payload
from kompakt_codec.errors import CheckpointError, CorruptStreamError, InvalidStreamError
from kompakt_codec.gaussian_coder import GaussianEntropy
from kompakt_codec.scale_coder import ScaleTables
from kompakt_codec.table_coder import TableEntropy
from tests.codec.gaussian_reference import (
    random_entropy,
    random_symbols,
    reference_payload,
)

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(1, 2), st.integers(1, 3))
"""Of the side information."""
ENTROPY = random_entropy(0)


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, size=SIZES, side=st.sampled_from([1, 3, 17]))
def test_payloads_are_the_specifications(seed, size, side):
    entropy = random_entropy(seed, side=side)
    symbols = random_symbols(entropy, seed, 2, size)
    payloads = entropy.encode(symbols, [0, 0])
    assert payloads == [reference_payload(entropy, one) for one in symbols]


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, size=SIZES, count=st.integers(1, 5))
def test_symbols_come_back_whatever_the_batch(seed, size, count):
    entropy = random_entropy(seed)
    symbols = random_symbols(entropy, seed, count, size)
    payloads = entropy.encode(symbols, [0] * count)
    assert np.array_equal(entropy.decode(payloads, [0] * count, symbols.shape[1:]), symbols)
    for one, payload in zip(symbols, payloads, strict=True):
        assert entropy.encode(one[None], [0]) == [payload]
        assert np.array_equal(entropy.decode([payload], [0], one.shape)[0], one)


def test_a_batch_of_more_than_a_chunk_is_that_of_its_images(monkeypatch):
    symbols = random_symbols(ENTROPY, 1, 5, (1, 2))
    payloads = ENTROPY.encode(symbols, [0] * 5)
    monkeypatch.setattr("kompakt_codec.entropy._CHUNK_SYMBOLS", 200)
    assert ENTROPY.encode(symbols, [0] * 5) == payloads
    assert np.array_equal(ENTROPY.decode(payloads, [0] * 5, symbols.shape[1:]), symbols)


def test_one_and_two_threads_decode_the_same():
    entropy = random_entropy(2, latents=24, side=20, units=16, size=500)
    symbols = random_symbols(entropy, 2, 4, (3, 4))
    payloads = entropy.encode(symbols, [0] * 4)
    for count in (1, 2):
        with threadpool_limits(count):  # of BLAS, which multiplies the integers
            assert np.array_equal(entropy.decode(payloads, [0] * 4, symbols.shape[1:]), symbols)


def test_latents_are_rounded_within_the_tables():
    latents = np.full((1, ENTROPY.channels, 1, 1), 0.6, np.float32)
    latents[0, :3, 0, 0] = 5000, -5000, -1.4
    latents[0, -3:] = -100
    symbols = ENTROPY.quantise(latents, [0])
    assert symbols[0, :4, 0, 0].tolist() == [1023, -1023, -1, 1]
    assert symbols[0, -3:, 0, 0].tolist() == ENTROPY.side.tables[0].minimums


@settings(deadline=None, max_examples=80)
@given(payload=st.binary(max_size=90), size=SIZES)
def test_any_bytes_give_symbols_or_a_typed_error(payload, size):
    shape = (ENTROPY.channels, *size)
    (result,) = ENTROPY.decode([payload], [0], shape)
    if isinstance(result, np.ndarray):
        assert result.shape == shape
        assert np.abs(result).max() <= 1023
    else:
        assert isinstance(result, (CorruptStreamError, InvalidStreamError))


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, flips=st.lists(st.integers(0, 10**6), min_size=1, max_size=4), cut=st.booleans())
def test_damage_fails_without_its_neighbours(seed, flips, cut):
    symbols = random_symbols(ENTROPY, seed, 2, (1, 2))
    first, second = ENTROPY.encode(symbols, [0, 0])
    damaged = bytearray(first)
    for flip in flips:
        damaged[flip % len(damaged)] ^= 1 << flip % 8
    if cut:
        del damaged[flips[0] % len(damaged) :]
    result, sound = ENTROPY.decode([bytes(damaged), second], [0, 0], symbols.shape[1:])
    assert isinstance(result, (np.ndarray, CorruptStreamError))
    assert np.array_equal(sound, symbols[1])


def test_a_payload_over_the_limit_fails_without_its_neighbours():
    symbols = random_symbols(ENTROPY, 5, 1, (1, 1))
    sound = ENTROPY.encode(symbols, [0])[0]
    limit = 16 + 8 * 32 + 4 * 3
    assert max_payload((32, 1, 1), (3, 1, 1)) == limit
    payloads = [bytes(limit + 1), bytes(limit), sound]
    over, within, last = ENTROPY.decode(payloads, [0] * 3, symbols.shape[1:])
    assert isinstance(over, InvalidStreamError)
    assert not isinstance(within, InvalidStreamError)
    assert np.array_equal(last, symbols[0])


def test_the_dearest_payload_is_within_the_limit():
    rare = np.array([1, 2**24 - 2, 1], np.uint32)
    side = EntropyTables(shape=(3, 1, 1), minimums=[-1] * 3, frequencies=[rare] * 3)
    residual = EntropyTables(shape=(1, 1, 1), minimums=[-1], frequencies=[rare])
    dearest = GaussianEntropy(
        network=ENTROPY.network,
        side=TableEntropy([side]),
        scales=ScaleTables(residual, np.zeros(0, np.int32)),
    )
    latents = np.full((1, 35, 2, 1), -2000, np.float32)
    symbols = dearest.quantise(latents, [0])
    payload = dearest.encode(symbols, [0])[0]
    assert np.array_equal(dearest.decode([payload], [0], symbols.shape[1:])[0], symbols[0])
    assert 0.5 < len(payload) / max_payload((32, 2, 1), (3, 2, 1)) < 1


def test_tensors_bring_it_back():
    again = GaussianEntropy.from_tensors(ENTROPY.tensors())
    symbols = random_symbols(ENTROPY, 4, 2, (1, 2))
    assert again.fingerprint == ENTROPY.fingerprint
    assert again.encode(symbols, [0, 0]) == ENTROPY.encode(symbols, [0, 0])


@pytest.mark.parametrize(
    "key",
    [
        "slope",
        "offsets",
        "thresholds",
        "h_s.1.weight",
        "h_s.2.shifts",
        "residual.frequencies",
        "side.minimums",
        "bits",
    ],
)
def test_the_fingerprint_is_of_every_part(key):
    tensors = {name: tensor.clone() for name, tensor in ENTROPY.tensors().items()}
    changed = tensors[key].flatten()
    changed[0] += 1 if key != "slope" or changed[0] < 2**20 else -1
    if key == "residual.frequencies":
        changed[1] -= 1
    assert GaussianEntropy.from_tensors(tensors).fingerprint != ENTROPY.fingerprint


def shortened(key: str) -> dict[str, torch.Tensor]:
    tensors = dict(ENTROPY.tensors())
    return {**tensors, key: tensors[key][1:]}


def replaced(key: str, value: list[int]) -> dict[str, torch.Tensor]:
    tensors = dict(ENTROPY.tensors())
    return {**tensors, key: torch.tensor(value, dtype=tensors[key].dtype)}


@pytest.mark.parametrize("key", ENTROPY.tensors())
def test_parts_that_are_missing_or_short_are_refused(key):
    tensors = dict(ENTROPY.tensors())
    with pytest.raises(CheckpointError):
        GaussianEntropy.from_tensors(shortened(key))
    del tensors[key]
    with pytest.raises(CheckpointError):
        GaussianEntropy.from_tensors(tensors)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("bits", [0, 12, 12], "behind the point"),
        ("bits", [12, 25, 12], "behind the point"),
        ("slope", [-1], "slope"),
        ("slope", [2**20 + 1], "slope"),
        ("thresholds", [0, 1, 2, 2, 3], "rise"),
        ("residual.minimums", [-1] * 6, "as far below"),
    ],
)
def test_parts_that_make_no_sense_are_refused(key, value, words):
    with pytest.raises(CheckpointError, match=words):
        GaussianEntropy.from_tensors(replaced(key, value))


def test_tables_that_reach_too_far_or_not_at_all_are_refused():
    for reach, words in ((0, "as far below"), (1024, "at most 1023")):
        table = frequencies_from_counts(np.ones(2 * reach + 1, np.int64))
        tables = EntropyTables(shape=(1, 1, 1), minimums=[-reach], frequencies=[table])
        with pytest.raises(CheckpointError, match=words):
            ScaleTables(tables, np.zeros(0, np.int32))


def test_other_side_information_is_refused():
    other = random_entropy(1, side=4)
    with pytest.raises(CheckpointError, match="other side information"):
        GaussianEntropy(network=ENTROPY.network, side=other.side, scales=ENTROPY.scales)
