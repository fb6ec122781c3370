"""Messages read ahead: in order, in bounded memory, with their errors in their place."""

import itertools
import threading
import time

import pytest

from kompakt.v1 import compression_pb2 as pb
from kompakt_service.errors import ServiceError
from kompakt_service.readahead import BURST_ITEMS, MAX_MESSAGES, ReadAhead, bursts
from tests.service.live import eventually

OPTIONS = pb.CompressOptions(model="m")


def message(*images: bytes) -> pb.StreamCompressRequest:
    return pb.StreamCompressRequest(images=[pb.Image(encoded=image) for image in images])


def first(*images: bytes) -> pb.StreamCompressRequest:
    opening = message(*images)
    opening.options.CopyFrom(OPTIONS)
    return opening


def flat(found) -> list[tuple[int, bytes]]:
    return [
        (number + i, image.encoded)
        for _, batches, number in found
        for i, image in enumerate(itertools.chain(*batches))
    ]


def test_everything_comes_once_in_order():
    sent = [first(b"0")] + [message(b"%d" % i) for i in range(1, 500)]

    found = flat(bursts(iter(sent), 1024, "images"))

    assert found == [(i, b"%d" % i) for i in range(500)]


def test_messages_that_have_come_together_are_worked_on_together():
    gate, read = threading.Event(), threading.Event()

    def requests():
        yield first(b"0")
        gate.wait(60)
        yield from (message(b"x") for _ in range(5))
        read.set()

    found = bursts(requests(), 1024, "images")
    assert len(next(found)[1]) == 1
    gate.set()
    assert read.wait(60)
    assert len(next(found)[1]) == 5


def test_large_messages_are_worked_on_one_by_one():
    sent = [first(*[b"x"] * BURST_ITEMS), *[message(*[b"x"] * BURST_ITEMS) for _ in range(3)]]
    assert [len(batches) for _, batches, _ in bursts(iter(sent), 1024, "images")] == [1] * 4


@pytest.mark.parametrize(("size", "most"), [(1, MAX_MESSAGES), (3 << 20, 2)])
def test_reading_stops_where_nobody_takes(size, most):
    read = 0

    def requests():
        nonlocal read
        while True:
            read += 1
            yield message(b"x" * size)

    ahead = ReadAhead(requests(), lambda request: len(request.images))
    found = ahead.bursts()
    next(found)
    assert eventually(lambda: len(ahead._changed._waiters) == 1)
    assert read <= 2 * most
    held = read
    time.sleep(0.1)
    assert read == held
    found.close()


def test_an_end_in_the_middle_lets_the_reader_go():
    before = set(threading.enumerate())  # some of which, of other tests, may end by themselves
    found = ReadAhead(iter([message(b"x")] * 1000), lambda _: 1).bursts()
    next(found)
    reader = set(threading.enumerate()) - before
    found.close()
    assert len(reader) == 1
    assert eventually(lambda: not any(thread.is_alive() for thread in reader))


def test_an_error_of_reading_comes_after_what_was_read():
    def requests():
        yield first(b"0")
        yield message(b"1")
        raise RuntimeError("gone")

    found = []
    with pytest.raises(RuntimeError, match="gone"):
        found.extend(bursts(requests(), 1024, "images"))
    assert flat(found) == [(0, b"0"), (1, b"1")]


@pytest.mark.parametrize(
    ("sent", "reason", "before"),
    [
        ([message(b"0")], "INVALID_FIELD", 0),
        ([first(b"0"), first(b"1")], "INVALID_FIELD", 1),
        ([first(b"0"), message(b"1", b"2", b"3")], "TOO_MANY_IMAGES", 1),
    ],
)
def test_a_wrong_message_is_refused_after_what_came_before(sent, reason, before):
    found = []
    with pytest.raises(ServiceError) as caught:
        found.extend(bursts(iter(sent), 2, "images"))
    assert caught.value.reason == reason
    assert len(flat(found)) == before


def test_messages_without_images_are_left_out():
    sent = [first(), message(), message(b"0"), message()]
    [(options, batches, number)] = bursts(iter(sent), 2, "images")
    assert options == OPTIONS
    assert len(batches) == 1
    assert number == 0
