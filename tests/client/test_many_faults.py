"""Runs of many items in which a connection, the server, or an item fails."""

import asyncio
import itertools
import time

import numpy as np
import pytest

from kompakt_client import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    InvalidRequestError,
    MessageTooLargeError,
    RetryPolicy,
    ServerError,
    UnavailableError,
    UnknownModelError,
)
from tests.client.conftest import FAST, pixels
from tests.client.fake_codec import pixels_in, stored
from tests.client.fake_server import Fault, grpc


def test_a_lost_connection_is_taken_up_again(client, fake):
    fake.cut_streams_after += [2, 0, 1]
    images = [pixels(seed, 2, 2) for seed in range(64 * 8)]

    results = list(client.compress_many(images))

    assert stored(results) == [image.tobytes() for image in images]
    assert fake.num_calls("StreamCompress") == 4


@pytest.mark.parametrize("ordered", [True, False])
def test_a_server_that_dies_and_comes_back_loses_and_doubles_nothing(client, running, ordered):
    indices, deaths = [], {100, 400, 700}

    for result in client.compress_many((pixels(n, 2, 2) for n in range(1000)), ordered=ordered):
        assert pixels_in(result.data) == pixels(result.index, 2, 2).tobytes()
        indices.append(result.index)
        if len(indices) in deaths:
            running.restart()

    assert sorted(indices) == list(range(1000))
    assert indices == sorted(indices) or not ordered


def test_a_slow_source_does_not_keep_lost_images_waiting(running, fake):
    fake.cut_streams_after.append(2)
    num_streams = []

    def images():
        for seed in range(40):
            time.sleep(0.02)
            num_streams.append(fake.num_calls("StreamCompress"))
            yield pixels(seed, 2, 2)

    with Client(running.target, retry=FAST) as client:
        results = list(client.compress_many(images()))

    assert stored(results) == [pixels(seed, 2, 2).tobytes() for seed in range(40)]
    assert num_streams[-1] == 2


def test_one_of_several_connections_may_die(make_client, fake):
    client = make_client(connections=2)
    fake.cut_streams_after += [1, 2, 1, 3]

    results = list(client.compress_many(pixels(n, 2, 2) for n in range(1000)))

    assert stored(results) == [pixels(n, 2, 2).tobytes() for n in range(1000)]


def test_a_server_that_dies_for_good_is_an_error(make_client, running):
    results = make_client(timeout=0.5).compress_many(pixels(n, 2, 2) for n in range(1000))
    next(results)

    running.stop()

    with pytest.raises(UnavailableError):
        list(results)


def test_a_busy_server_is_asked_again_when_it_says(client, fake):
    fault = Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=0.2)
    fake.faults += [fault] * 2

    begun = time.monotonic()
    results = list(client.compress_many([pixels(n, 2, 2) for n in range(100)]))

    assert time.monotonic() - begun >= 0.4
    assert stored(results) == [pixels(n, 2, 2).tobytes() for n in range(100)]


def test_items_that_a_busy_server_refuses_are_sent_again(client, fake):
    fake.items_to_refuse = 70

    results = list(client.compress_many([pixels(n, 2, 2) for n in range(200)]))

    assert stored(results) == [pixels(n, 2, 2).tobytes() for n in range(200)]
    assert fake.items_to_refuse == 0


def test_a_window_that_is_refused_whole_is_sent_again(make_client, fake):
    client = make_client(retry=RetryPolicy(max_attempts=3, max_backoff=0.05, initial_backoff=0.05))
    fake.items_to_refuse = 1 + 3 * 64

    results = list(client.compress_many([pixels(n, 2, 2) for n in range(300)]))

    assert stored(results) == [pixels(n, 2, 2).tobytes() for n in range(300)]


def test_a_server_that_stays_away_is_an_error(client, fake):
    fake.faults += [Fault(grpc.StatusCode.UNAVAILABLE)] * 9

    with pytest.raises(UnavailableError):
        list(client.compress_many([pixels(0)]))

    assert fake.num_calls("StreamCompress") == FAST.max_attempts


def test_what_is_no_items_fault_ends_the_stream(client, fake):
    fake.faults.append(Fault(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field="options"))

    with pytest.raises(InvalidRequestError) as caught:
        list(client.compress_many([pixels(0)]))

    assert caught.value.violations[0].field == "options"


def test_the_servers_word_is_heard_however_much_is_under_way(client, fake):
    fake.faults += [Fault(grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL")] * 9

    with pytest.raises(UnknownModelError):
        list(client.compress_many(pixels(seed, 16, 16) for seed in range(1000)))


def test_messages_shrink_to_the_servers_limit(client, fake):
    fake.max_images = 10
    images = [pixels(seed, 2, 2) for seed in range(200)]

    assert stored(client.compress_many(images)) == [image.tobytes() for image in images]


@pytest.mark.parametrize("reason", ["", "TOO_MANY_IMAGES"])
def test_the_one_item_that_is_too_large_fails_alone(client, fake, reason):
    streams = client.compress_batch([pixels(seed) for seed in range(9)])
    large = client.compress(pixels(99, 60, 60))
    fake.max_answer_pixels = 2 * 28 * 28
    if reason:
        fake.large_answer = Fault(grpc.StatusCode.INVALID_ARGUMENT, reason)

    results = list(client.decompress_many([*streams[:5], large, *streams[5:]]))

    assert isinstance(results[5].error, InvalidRequestError if reason else MessageTooLargeError)
    assert (results[5].index, results[5].error.reason) == (5, reason)
    numbers = [*range(5), *range(5, 9)]
    pictures = [result.to_numpy() for result in results[:5] + results[6:]]
    assert all(np.array_equal(a, pixels(n)) for a, n in zip(pictures, numbers, strict=True))


def test_an_unreadable_input_raises_and_ends_the_run(client, tmp_path):
    results = client.compress_many([tmp_path / "missing.png"])

    with pytest.raises(FileNotFoundError):
        next(results)


def test_an_answer_that_does_not_come_passes_the_deadline(client, fake):
    fake.delay = 1.0

    with pytest.raises(DeadlineExceededError, match="no answer from"):
        list(client.compress_many([pixels(0)], timeout=0.2))


def test_a_stream_that_ends_early_is_the_servers_fault(client, fake):
    fake.end_streams_early = True

    with pytest.raises(ServerError, match="ended before its last item was answered"):
        list(client.compress_many([pixels(0)]))


def test_an_evaluation_is_begun_again_only_before_its_first_answer(client, fake):
    images = [pixels(seed) for seed in range(20)]
    fake.cut_streams_after += [0]

    assert client.evaluate(images).pooled[0].num_images == 20

    fake.cut_streams_after += [1]
    with pytest.raises(UnavailableError):
        client.evaluate(images)


@pytest.mark.parametrize("reconstructions", [True, False])
def test_an_evaluation_sends_one_image_a_message(client, fake, reconstructions):
    fake.max_images = 1
    images = [pixels(seed) for seed in range(5)]

    evaluation = client.evaluate(images, reconstructions=reconstructions)

    assert len(evaluation.images) == evaluation.pooled[0].num_images == 5


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("num_good", [1, 300])
def test_what_was_read_is_handed_out_before_an_input_that_cannot_be(
    client, fake, tmp_path, num_good, ordered
):
    good = (pixels(seed, 2, 2) for seed in range(num_good))
    images = itertools.chain(good, [tmp_path / "missing.png", pixels(0)])
    results = []

    with pytest.raises(FileNotFoundError):
        results.extend(client.compress_many(images, ordered=ordered))

    made = {result.index: pixels_in(result.data) for result in results}
    assert len(results) == num_good
    assert made == {n: pixels(n, 2, 2).tobytes() for n in range(num_good)}
    assert fake.num_clean_ends == 1


@pytest.mark.parametrize("method", ["compress_many", "evaluate"])
def test_a_source_that_was_cancelled_ends_the_run(running, method):
    indices = []

    async def images():
        yield pixels(0)
        raise asyncio.CancelledError

    async def run():
        async with AsyncClient(running.target) as client:
            made = getattr(client, method)(images())
            if method == "evaluate":
                await made
            async for result in made:
                indices.append(result.index)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(asyncio.wait_for(run(), 10))
    assert indices == [0] * (method == "compress_many")


def test_an_evaluation_ends_at_once_with_an_input_that_cannot_be_read(client, fake):
    fake.delay = 0.1

    def images():
        yield pixels(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.evaluate(images())

    assert fake.num_clean_ends == 0


def test_a_failure_while_what_was_read_is_handed_out_comes_first(client, fake):
    fake.faults.append(Fault(grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL"))

    with pytest.raises(UnknownModelError):
        list(client.compress_many([pixels(0), 5]))
