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
    items = [Item(m, OPTIONS[w]) for m, w in zip(messages, which, strict=True)]

    chunks = pack(items, Limits(max_items=max_items, max_bytes=max_bytes))

    assert [m for chunk in chunks for m in chunk.messages] == messages
    start = 0
    for chunk in chunks:
        size = len(chunk.messages)
        assert chunk.start == start
        assert 1 <= size <= max_items
        assert size == 1 or sum(m.ByteSize() for m in chunk.messages) <= max_bytes
        assert {OPTIONS.index(chunk.options)} == set(which[start : start + size])
        start += size


@given(st.integers(1, 50), st.integers(0, 9))
def test_halves_make_the_whole(size, start):
    chunk = Chunk(start=start, messages=tuple(range(size)), options=OPTIONS[0])

    halves = chunk.halves()

    assert [m for half in halves for m in half.messages] == list(range(size))
    assert [half.start for half in halves] == [start, start + size // 2][-len(halves) :]
    assert len(halves) == min(size, 2)


def test_limits_halve_down_to_one_item():
    limits = Limits(max_items=5, max_bytes=9)

    assert [limits.halved().max_items, limits.halved().halved().halved().max_items] == [2, 1]
