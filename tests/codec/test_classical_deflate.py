import heapq
import zlib
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kompakt_codec.classical._deflate import (
    cut,
    deflate,
    drop_first_bit,
    inflate,
    restore_first_bit,
)
from kompakt_codec.classical._huffman import code_lengths
from kompakt_codec.classical._parse import optimal_blocks

few_values = st.lists(st.sampled_from([0, 1, 7, 255]), min_size=1, max_size=300).map(bytes)
data_of_any_kind = few_values | st.binary(min_size=1, max_size=300)
weights = st.dictionaries(st.integers(0, 285), st.integers(0, 10_000), min_size=2, max_size=60)


@settings(deadline=None)
@given(data=data_of_any_kind)
def test_cut_streams_inflate_to_the_data(data):
    stream = deflate(data)
    assert inflate(stream, len(data)) == data
    if stream[0] & 1:
        assert inflate(restore_first_bit(drop_first_bit(stream)), len(data)) == data


@settings(deadline=None)
@given(data=data_of_any_kind)
def test_cut_streams_are_never_longer_than_zlibs(data):
    assert len(deflate(data)) <= len(zlib.compress(data, 9, wbits=-15))


@settings(deadline=None, max_examples=20)
@given(data=data_of_any_kind)
def test_searched_blocks_inflate_to_the_data(data):
    for _, block in zip(range(5), optimal_blocks(data), strict=False):
        assert inflate(cut(block, data), len(data)) == data


def test_the_search_beats_zlib_on_dots():
    data = np.random.default_rng(1).choice([2, 194], 784, p=[0.95, 0.05]).astype(np.uint8).tobytes()
    zlibs = len(deflate(data))
    assert any(len(cut(block, data)) < zlibs for block in optimal_blocks(data))


def huffman_cost(counts: list[int]) -> int:
    heap, cost = sorted(counts), 0
    while len(heap) > 1:
        pair = heapq.heappop(heap) + heapq.heappop(heap)
        cost += pair
        heapq.heappush(heap, pair)
    return cost


@given(counts=weights)
def test_code_lengths_are_those_of_a_full_prefix_code(counts):
    lengths = code_lengths(counts, 8)
    assert lengths.keys() == counts.keys()
    assert max(lengths.values()) <= 8
    assert sum(Fraction(1, 1 << length) for length in lengths.values()) == 1


@given(counts=weights)
def test_code_lengths_are_optimal_where_the_limit_is_far(counts):
    lengths = code_lengths(counts, 60)
    assert sum(counts[s] * lengths[s] for s in counts) == huffman_cost(list(counts.values()))
