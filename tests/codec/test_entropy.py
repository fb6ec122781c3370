import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kompakt_codec.entropy import (
    EntropyTables,
    Symbols,
    frequencies_from_counts,
)
from kompakt_codec.errors import (
    CheckpointError,
    CorruptStreamError,
    InvalidStreamError,
    StreamError,
)
from kompakt_codec.table_coder import TableEntropy


def encode(tables: EntropyTables, symbols: Symbols) -> bytes:
    return TableEntropy([tables]).encode(symbols[None], [0])[0]


def decode(tables: EntropyTables, payload: bytes) -> Symbols | StreamError:
    return TableEntropy([tables]).decode([payload], [0], tables.shape)[0]


def random_tables(rng: np.random.Generator, shape: tuple[int, int, int]) -> EntropyTables:
    frequencies = []
    for _ in range(shape[0]):
        counts = np.exp(rng.normal(0, 4, rng.integers(1, 30))).astype(np.int64) + 1
        frequencies.append(frequencies_from_counts(counts))
    minimums = [int(m) for m in rng.integers(-40, 40, shape[0])]
    return EntropyTables(shape=shape, minimums=minimums, frequencies=frequencies)


def draw_symbols(rng: np.random.Generator, tables: EntropyTables, *, typical: bool) -> Symbols:
    channels = []
    for minimum, table in zip(tables.minimums, tables.frequencies, strict=True):
        p = table / table.sum() if typical else np.full(len(table), 1 / len(table))
        channels.append(minimum + rng.choice(len(table), size=tables.shape[1:], p=p))
    return np.stack(channels).astype(np.int16)


def ideal_bits(tables: EntropyTables, symbols: Symbols) -> float:
    return sum(
        (24 - np.log2(table[channel - minimum].astype(np.float64))).sum()
        for minimum, table, channel in zip(
            tables.minimums, tables.frequencies, symbols, strict=True
        )
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 6), st.integers(1, 6)),
    typical=st.booleans(),
)
def test_round_trip_ends_within_a_byte_of_the_ideal(seed, shape, typical):
    rng = np.random.default_rng(seed)
    tables = random_tables(rng, shape)
    symbols = draw_symbols(rng, tables, typical=typical)
    payload = encode(tables, symbols)

    assert np.array_equal(decode(tables, payload), symbols)
    bits = ideal_bits(tables, symbols)
    assert len(payload) <= math.ceil(bits * (1 + 1e-6) / 8 + 1e-9) + 1
    assert not payload.endswith(b"\0")


def reference_payload(tables: EntropyTables, symbols: Symbols) -> bytes:
    """docs/format.md in integers of any size, by the book."""
    low, span, words = 0, 2**64 - 1, 0
    for minimum, table, channel in zip(tables.minimums, tables.frequencies, symbols, strict=True):
        if len(table) == 1:
            continue
        for index in (channel - minimum).ravel().tolist():
            scale = span >> 24
            low += scale * int(table[:index].sum())
            span = scale * int(table[index])
            while span < 2**32:
                low, span, words = low << 32, span << 32, words + 1
    grid_bits = 32 * (words + 2)
    for num_bytes in range(grid_bits // 8 + 1):
        unit = 2 ** (grid_bits - 8 * num_bytes)
        value = -(-low // unit)
        if value * unit < low + span:
            return value.to_bytes(num_bytes, "big")
    raise AssertionError("the interval is empty")


@given(seed=st.integers(0, 2**32 - 1), typical=st.booleans())
def test_payload_is_what_the_specification_says(seed, typical):
    rng = np.random.default_rng(seed)
    tables = random_tables(rng, (12, 3, 2))
    symbols = draw_symbols(rng, tables, typical=typical)

    assert encode(tables, symbols) == reference_payload(tables, symbols)


def test_a_pending_carry_at_the_end_is_resolved():
    # The top symbol again and again drives low towards the next power of two, where one more sum
    # carries into all words; a table with a tiny first symbol keeps it there.
    table = np.array([1, 2**24 - 1], np.uint32)
    for length in (1, 10, 100, 3000):
        tables = EntropyTables(shape=(1, length, 1), minimums=[0], frequencies=[table])
        for tail in (0, 1):
            symbols = np.ones((1, length, 1), np.int16)
            symbols[0, -1, 0] = tail
            payload = encode(tables, symbols)
            assert payload == reference_payload(tables, symbols)
            assert np.array_equal(decode(tables, payload), symbols)


@given(payload=st.binary(max_size=200))
def test_any_bytes_decode_to_symbols_of_the_tables_or_are_corrupt(payload):
    tables = random_tables(np.random.default_rng(7), (16, 2, 2))
    symbols = decode(tables, payload)
    if isinstance(symbols, CorruptStreamError):
        return
    for minimum, table, channel in zip(tables.minimums, tables.frequencies, symbols, strict=True):
        assert channel.min() >= minimum
        assert channel.max() < minimum + len(table)


def test_a_payload_over_the_limit_is_refused():
    tables = random_tables(np.random.default_rng(1), (4, 1, 1))
    assert isinstance(decode(tables, bytes(20)), np.ndarray)
    refused = decode(tables, bytes(21))
    assert isinstance(refused, InvalidStreamError)
    assert "over the model's 20" in str(refused)


def test_symbols_are_clipped_to_the_tables():
    tables = EntropyTables(
        shape=(2, 1, 1),
        minimums=[-1, 5],
        frequencies=[frequencies_from_counts(np.ones(3, np.int64))] * 2,
    )
    latents = np.array([[-9.0, 5.4], [1.6, 99.0]], np.float32)[:, :, None, None]
    clipped = TableEntropy([tables]).quantise(latents, [0, 0])
    assert clipped.reshape(2, 2).tolist() == [[-1, 5], [1, 7]]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300).filter(any))
def test_frequencies_sum_to_the_precision(counts):
    table = frequencies_from_counts(np.array(counts, np.int64))
    assert table.min() >= 1
    assert int(table.sum()) == 2**24


@pytest.mark.parametrize(
    ("minimum", "table"),
    [
        (0, np.array([2**24 - 1], np.uint32)),
        (0, np.array([0, 2**24], np.uint32)),
        (0, np.array([], np.uint32)),
        (0, np.array([2**24], np.int64)),
        (2**15, np.array([2**24], np.uint32)),
        (-(2**15) - 1, np.array([2**24], np.uint32)),
    ],
)
def test_malformed_tables_are_refused(minimum, table):
    with pytest.raises(CheckpointError):
        EntropyTables(shape=(1, 1, 1), minimums=[minimum], frequencies=[table])


def test_every_bit_of_the_tables_is_in_the_fingerprint():
    table = frequencies_from_counts(np.array([5, 3, 9], np.int64))
    other = table.copy()
    other[0], other[1] = other[0] + 1, other[1] - 1
    prints = {
        EntropyTables(shape=shape, minimums=[low], frequencies=[frequencies]).fingerprint
        for shape, low, frequencies in [
            ((1, 1, 1), 0, table),
            ((1, 1, 1), 1, table),
            ((1, 1, 1), 0, other),
            ((1, 2, 1), 0, table),
            ((1, 1, 2), 0, table),
        ]
    }
    assert len(prints) == 5


def test_what_is_no_number_becomes_the_lowest_symbol():
    tables = EntropyTables(
        shape=(1, 1, 1),
        minimums=[3],
        frequencies=[frequencies_from_counts(np.ones(4, np.int64))],
    )
    latents = np.array([np.nan, np.inf, -np.inf], np.float32).reshape(3, 1, 1, 1)
    assert TableEntropy([tables]).quantise(latents, [0, 0, 0]).ravel().tolist() == [3, 6, 3]
