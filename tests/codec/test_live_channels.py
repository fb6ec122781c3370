"""A hyperprior that codes some of its channels alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kompakt_codec.errors import CheckpointError, InvalidStreamError
from kompakt_codec.hyper_coder import HyperEntropy
from kompakt_codec.live_channels import LiveEntropy, hyper_entropy_from_tensors
from kompakt_codec.models import HyperPrior
from tests.codec.hyper_reference import LEVELS, random_entropy, random_symbols, reference_payload

GROUPS = (2, 3, 4)
CHANNELS = sum(GROUPS)
WHOLE = random_entropy(5, groups=GROUPS, spatial=2)
LIVE = np.array([1, 0, 0, 1, 1, 0, 0, 0, 1], np.bool_)
ENTROPY = LiveEntropy.of(WHOLE, LIVE)


def sparse_symbols(seed, count, size=(3, 2), live=LIVE):
    return random_symbols(seed, count, (CHANNELS, *size)) * live[:, None, None]


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    live=st.lists(st.booleans(), min_size=CHANNELS, max_size=CHANNELS),
    spatial=st.integers(0, 3),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_means_and_scales_are_those_of_zeros(seed, live, spatial, size):
    whole = random_entropy(seed, groups=GROUPS, spatial=spatial)
    entropy = LiveEntropy.of(whole, np.array(live))
    symbols = sparse_symbols(seed, 3, size, entropy.live)
    levels = [0, 0.625, 1]

    payloads = entropy.encode(symbols, levels)

    assert np.array_equal(entropy.decode(payloads, levels, (CHANNELS, *size)), symbols)
    for payload, one, level in zip(payloads, symbols, levels, strict=True):
        assert payload == reference_payload(entropy.inner, one[entropy.live], level)
    assert np.array_equal(
        entropy.inner.side_information(symbols[:, entropy.live], levels),
        whole.side_information(symbols, levels),
    )


def test_every_group_keeps_a_channel():
    entropy = LiveEntropy.of(WHOLE, np.zeros(CHANNELS, np.bool_))
    assert np.flatnonzero(entropy.live).tolist() == [0, 2, 5]


def test_other_channels_become_zeros():
    latents = np.full((1, CHANNELS, 1, 2), 2.6, np.float32)
    assert ENTROPY.quantise(latents, [0])[0, :, 0, 0].tolist() == (3 * LIVE).tolist()


def test_a_payload_of_another_length_fails_alone():
    (payload,) = ENTROPY.encode(sparse_symbols(1, 1), [1])
    limit = 16 + 8 * LIVE.sum() * 6 + 4 * 2 * 2
    sound, over = ENTROPY.decode([payload, bytes(limit + 1)], [1, 1], (CHANNELS, 3, 2))
    assert np.array_equal(sound, sparse_symbols(1, 1)[0])
    assert isinstance(over, InvalidStreamError)


def test_a_saved_path_is_the_same_path():
    again = hyper_entropy_from_tensors(ENTROPY.tensors(), levels=LEVELS)
    assert again.fingerprint == ENTROPY.fingerprint
    assert again.channels == CHANNELS
    symbols = sparse_symbols(8, 2)
    assert again.encode(symbols, [0, 1]) == ENTROPY.encode(symbols, [0, 1])
    assert isinstance(hyper_entropy_from_tensors(WHOLE.tensors(), levels=LEVELS), HyperEntropy)


def test_which_channels_are_live_is_in_the_fingerprint():
    others = [np.roll(LIVE, 1), np.append(LIVE, False)]
    fingerprints = {LiveEntropy(ENTROPY.inner, live).fingerprint for live in (LIVE, *others)}
    assert len({*fingerprints, ENTROPY.inner.fingerprint}) == 4


@pytest.mark.parametrize(
    "live",
    [
        torch.ones(CHANNELS, dtype=torch.uint8),
        torch.tensor([[1, 1, 1, 1]], dtype=torch.uint8),
        torch.tensor([2, 1, 1], dtype=torch.uint8),
        torch.tensor([1, 1, 1, 1], dtype=torch.int64),
        torch.tensor([1, 1, 1, 1] + 1021 * [0], dtype=torch.uint8),
        torch.zeros(0, dtype=torch.uint8),
    ],
)
def test_damaged_live_channels_are_refused(live):
    with pytest.raises(CheckpointError):
        hyper_entropy_from_tensors({**ENTROPY.tensors(), "live": live}, levels=LEVELS)


@pytest.mark.parametrize("spatial", [0, 2])
def test_a_prior_gets_back_what_it_was_frozen_to(spatial):
    torch.manual_seed(0)
    prior = HyperPrior(15, side=2, units=4, groups=3, levels=LEVELS, spatial=spatial).eval()
    for parameter in prior.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    side = random_entropy(1).side
    live = np.array(5 * [1, 0, 1], np.bool_)
    entropy = LiveEntropy.of(HyperEntropy.freeze(prior, side), live)
    other = HyperPrior(15, side=2, units=4, groups=3, levels=LEVELS, spatial=spatial).eval()

    entropy.restore(other)

    whole = HyperEntropy.freeze(other, side)
    assert LiveEntropy.of(whole, live).fingerprint == entropy.fingerprint
    symbols = random_symbols(2, 5, (15, 4, 4)) * live[:, None, None]
    for level in (0, 1):
        lengths = [
            [len(payload) for payload in path.encode(symbols, 5 * [level])]
            for path in (whole, entropy)
        ]
        assert np.abs(np.subtract(*lengths)).max() <= 1  # zeros that are expected cost nothing


@pytest.mark.parametrize(
    "sizes", [{"channels": 9}, {"groups": 2}, {"units": 5}, {"spatial": 1}, {"levels": LEVELS + 1}]
)
def test_a_prior_of_other_sizes_is_refused(sizes):
    own = {"channels": 15, "side": 2, "units": 4, "groups": 3, "levels": LEVELS, "spatial": 2}
    prior, other = (HyperPrior(**made) for made in (own, {**own, **sizes}))
    whole = HyperEntropy.freeze(prior, random_entropy(1).side)
    entropy = LiveEntropy.of(whole, np.arange(15) % 2 == 0)
    with pytest.raises(ValueError, match=r"another prior|mismatch|broadcast"):
        entropy.restore(other)
