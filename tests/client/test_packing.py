"""Items gathered into messages."""

from hypothesis import given
from hypothesis import strategies as st

from kompakt.v1 import compression_pb2 as pb
from kompakt_client._packing import Chunk, Item, Limits, Packer

OPTIONS = [pb.DecompressOptions(model=name) for name in "ab"]


def pack(items, limits):
    packer = Packer(limits)
    chunks = [packer.add(item) for item in items] + [packer.take()]
    return [chunk for chunk in chunks if chunk is not None]


@given(
    sizes=st.lists(st.integers(0, 40)),
    max_items=st.integers(1, 6),
    max_bytes=st.integers(1, 60),
    data=st.data(),
)
def test_chunks_hold_all_items_in_order_within_the_limits(sizes, max_items, max_bytes, data):
    which = [data.draw(st.integers(0, 1)) for _ in sizes]
    messages = [pb.CompressedImage(data=bytes(size)) for size in sizes]
    items = [Item.of(m, OPTIONS[w]) for m, w in zip(messages, which, strict=True)]

    chunks = pack(items, Limits(max_items=max_items, max_bytes=max_bytes))

    assert [m for chunk in chunks for m in chunk.messages] == messages
    start = 0
    for chunk in chunks:
        size = len(chunk.messages)
        assert chunk.indices == tuple(range(start, start + size))
        assert 1 <= size <= max_items
        assert size == 1 or sum(m.ByteSize() for m in chunk.messages) <= max_bytes
        assert {OPTIONS.index(chunk.options)} == set(which[start : start + size])
        start += size


@given(st.integers(2, 50), st.data())
def test_a_chunk_is_split_with_its_indices(size, data):
    indices = tuple(data.draw(st.lists(st.integers(0), min_size=size, max_size=size)))
    at = data.draw(st.integers(1, size - 1))
    chunk = Chunk(indices=indices, messages=tuple(range(size)), options=OPTIONS[0])

    first, rest = chunk.split(at)

    assert len(first) == at
    assert first.indices + rest.indices == indices
    assert first.messages + rest.messages == chunk.messages


@given(size=st.integers(0, 300), max_items=st.integers(1, 64), max_bytes=st.integers(64, 256))
def test_what_fits_a_message_shares_no_more_than_it(size, max_items, max_bytes):
    limits = Limits(max_items=max_items, max_bytes=max_bytes)
    item = Item.of(pb.CompressedImage(data=bytes(size)), OPTIONS[0])

    share = limits.share(item)

    assert 1 <= share <= max_bytes
    assert share * max_items >= max_bytes - max_items
    assert share >= min(item.num_bytes, max_bytes)


def test_limits_halve_down_to_one_item():
    limits = Limits(max_items=5, max_bytes=9)

    assert [limits.halved().max_items, limits.halved().halved().halved().max_items] == [2, 1]
