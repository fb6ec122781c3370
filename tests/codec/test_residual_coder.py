"""Symbols with a mean and a scale each, against docs/format.md in integers of any size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kompakt_codec.integer import Lookup
from kompakt_codec.range_coder import RangeDecoders, RangeEncoders
from kompakt_codec.residual_coder import ResidualTables
from tests.codec.hyper_reference import CLASSES, payload_of, residual_steps, table_of

LOOKUP = Lookup.make()
TABLES = ResidualTables(LOOKUP)
MEAN_LIMIT = 1023 * 256
MEANS = st.one_of(
    st.integers(-MEAN_LIMIT, MEAN_LIMIT),
    st.integers(-300, 300),
    st.sampled_from([-MEAN_LIMIT, MEAN_LIMIT, -128, -129, 127, 128]),
)
SCALES = st.one_of(
    st.integers(-1100, 1100), st.sampled_from([-MEAN_LIMIT, MEAN_LIMIT, -1024, 1024, 1040])
)
SYMBOLS = st.one_of(st.integers(-1023, 1023), st.integers(-5, 5), st.sampled_from([-1023, 1023]))


def encode(symbols: np.ndarray, means: np.ndarray, scales: np.ndarray) -> bytes:
    encoders = RangeEncoders.start(1, 45 * len(symbols))
    rows = (row[None].astype(np.int32) for row in (symbols, means, scales))
    TABLES.encode(encoders, *rows)
    return encoders.finish()[0]


def decode(payload: bytes, means: np.ndarray, scales: np.ndarray) -> np.ndarray | None:
    rows = (row[None].astype(np.int32) for row in (means, scales))
    failed = np.zeros(1, np.bool_)
    symbols = TABLES.decode(RangeDecoders.open([payload]), *rows, failed)
    return None if failed[0] else symbols[0]


@settings(deadline=None)
@given(st.lists(st.tuples(SYMBOLS, MEANS, SCALES), min_size=1, max_size=40))
def test_payloads_are_the_specifications_and_come_back(rows):
    symbols, means, scales = np.array(rows, np.int64).T
    payload = encode(symbols, means, scales)
    steps = residual_steps(LOOKUP, symbols.tolist(), means.tolist(), scales.tolist())
    assert payload == payload_of(steps)
    assert np.array_equal(decode(payload, means, scales), symbols)


@pytest.mark.parametrize("symbol", [-1023, 1023])
@pytest.mark.parametrize("mean", [-MEAN_LIMIT, 0, MEAN_LIMIT])
@pytest.mark.parametrize("scale", [-MEAN_LIMIT, 0, MEAN_LIMIT])
def test_the_farthest_symbols_come_back(symbol, mean, scale):
    symbols, means, scales = (np.full(3, value, np.int64) for value in (symbol, mean, scale))
    payload = encode(symbols, means, scales)
    assert np.array_equal(decode(payload, means, scales), symbols)
    assert 8 * len(payload) <= 3 * 46 + 8


def test_every_table_has_its_sum_and_no_impossible_symbol():
    first = 0
    for last, reach in CLASSES:
        for index in (first, last):
            for fraction in (0, 7, 15):
                frequencies = table_of(LOOKUP, index, fraction, reach)
                assert min(frequencies) >= 1
                assert sum(frequencies) == 1 << 24
        first = last + 1


@pytest.mark.parametrize(("scale", "most"), [(-640, 1.02), (0, 1.01), (700, 1.02), (1024, 1.02)])
def test_a_symbol_costs_what_its_logistic_says_and_little_more(scale, most):
    rng = np.random.default_rng(0)
    means = rng.integers(-2000, 2000, 4000)
    noise = rng.logistic(0, np.exp(scale / 256), len(means))
    symbols = np.clip(np.rint(means / 256 + noise), -1023, 1023).astype(np.int64)
    distance = symbols - means / 256
    edges = [1 / (1 + np.exp(-(distance + e) / np.exp(scale / 256))) for e in (-0.5, 0.5)]
    ideal = -np.log2(np.maximum(edges[1] - edges[0], 2.0**-24)).sum()
    scales = np.full(len(means), scale)
    assert 0.99 < 8 * len(encode(symbols, means, scales)) / ideal < most


@pytest.mark.parametrize(("mean", "bits"), [(0, "1" * 11), (MEAN_LIMIT, "0")])
def test_symbols_beyond_the_largest_are_refused(mean, bits):
    frequencies = table_of(LOOKUP, 0, ((mean + 128) & 255) >> 4, 2)
    escape = [(sum(frequencies[:-1]), frequencies[-1])]
    steps = escape + [((1 << 23) * int(bit), 1 << 23) for bit in bits]
    assert decode(payload_of(iter(steps)), np.array([mean]), np.array([-1024])) is None


@settings(deadline=None)
@given(
    payload=st.binary(max_size=60),
    rows=st.lists(st.tuples(MEANS, SCALES), min_size=1, max_size=12),
)
def test_any_bytes_give_symbols_or_none(payload, rows):
    means, scales = np.array(rows, np.int64).T
    symbols = decode(payload, means, scales)
    assert symbols is None or np.abs(symbols).max() <= 1023


def test_no_symbols_take_no_bytes():
    nothing = np.zeros(0, np.int64)
    assert encode(nothing, nothing, nothing) == b""
    assert decode(b"", nothing, nothing).shape == (0,)
