"""Long runs over the streaming methods."""

import asyncio
import itertools
import threading
import time

import numpy as np
import pytest

from kompakt_client import (
    AsyncClient,
    Client,
    Compressed,
    DeadlineExceededError,
    Failure,
    InvalidRequestError,
    MessageTooLargeError,
    ServerError,
    UnavailableError,
    UnknownModelError,
)
from tests.client.conftest import FAST, pixels
from tests.client.fake_server import HEADER, Fault, grpc


def stored(results):
    return [result.data[HEADER.size :] for result in results]


def test_results_come_in_order(client, fake):
    images = [pixels(seed, 4, 4) for seed in range(300)]

    results = list(client.compress_many(images, model="fake-vae"))

    assert stored(results) == [image.tobytes() for image in images]
    assert {result.model for result in results} == {"fake-vae"}
    assert fake.calls == ["StreamCompress"]
    assert [len(request.images) for request in fake.requests] == [64, 64, 64, 64, 44]


def test_heavy_images_go_in_messages_of_a_megabyte(client, fake):
    images = [pixels(seed, 60, 7000) for seed in range(6)]

    assert len(list(client.compress_many(images))) == 6

    assert [len(request.images) for request in fake.requests] == [2, 2, 2]


def test_streams_decompress_to_files(client):
    streams = [client.compress(pixels(seed)).data for seed in range(3)]

    results = list(client.decompress_many(streams, format="png"))

    assert all(result.data.startswith(b"\x89PNG") for result in results)


def test_failures_take_their_place_and_the_stream_goes_on(client):
    images = [pixels(0), b"bad", pixels(2), pixels(3, height=99), pixels(4)]

    results = list(client.compress_many(images))

    kinds = [Compressed, Failure, Compressed, Failure, Compressed]
    assert [type(result) for result in results] == kinds
    assert [results[1].index, results[3].index] == [1, 3]
    assert results[3].error.reason == "WRONG_SIZE"


def test_an_empty_run_makes_no_call(client, fake):
    assert list(client.compress_many([])) == []
    assert fake.calls == []


def test_memory_is_bounded_by_a_window(client):
    taken = itertools.count()
    images = (pixels(next(taken), 2, 2) for _ in iter(int, 1))

    results = client.compress_many(images)
    for _ in range(100):
        next(results)
    results.close()

    assert next(taken) <= 64 * (2 + 4)


def test_a_lost_connection_is_taken_up_again(client, fake):
    fake.cut_streams_after += [2, 0, 1]
    images = [pixels(seed, 2, 2) for seed in range(64 * 8)]

    results = list(client.compress_many(images))

    assert stored(results) == [image.tobytes() for image in images]
    assert fake.num_calls("StreamCompress") == 4


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


def test_the_one_item_that_is_too_large_fails_alone(client, fake):
    streams = client.compress_batch([pixels(seed) for seed in range(9)])
    large = client.compress(pixels(99, 60, 60))
    fake.max_answer_pixels = 2 * 28 * 28

    results = list(client.decompress_many([*streams[:5], large, *streams[5:]]))

    assert isinstance(results[5].error, MessageTooLargeError)
    assert results[5].index == 5
    numbers = [*range(5), *range(5, 9)]
    pictures = [result.to_numpy() for result in results[:5] + results[6:]]
    assert all(np.array_equal(a, pixels(n)) for a, n in zip(pictures, numbers, strict=True))


def test_streams_of_different_models_get_streams_of_their_own(client, fake, image):
    embedded = client.compress(image, model="fake-vae", profile="embedded")
    plain = client.compress(image)

    results = list(client.decompress_many([plain, plain, embedded, plain]))

    assert [result.model for result in results] == ["fake-ae", "fake-ae", "fake-vae", "fake-ae"]
    assert fake.num_calls("StreamDecompress") == 3


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


def test_a_run_ends_cleanly_for_the_server(client, fake):
    list(client.compress_many([pixels(0)]))
    client.evaluate([pixels(seed) for seed in range(20)])

    assert fake.num_clean_ends == 2


def test_leaving_a_run_early_leaves_no_thread(running):
    before = threading.active_count()
    with Client(running.target) as client:
        results = client.compress_many(pixels(seed, 2, 2) for seed in range(2000))
        next(results)
        results.close()

    deadline = time.monotonic() + 5
    while threading.active_count() > before + 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if "consume_request_iterator" in name]


def test_the_async_client_takes_async_inputs(running):
    async def images():
        for seed in range(70):
            yield pixels(seed, 2, 2)

    async def run():
        async with AsyncClient(running.target) as client:
            streamed = [result async for result in client.compress_many(images())]
            return streamed, await client.compress_batch(images())

    streamed, batched = asyncio.run(run())

    assert stored(streamed) == stored(batched) == [pixels(s, 2, 2).tobytes() for s in range(70)]


def test_the_async_client_makes_calls_at_once(running, fake):
    fake.delay = 0.3

    async def run():
        async with AsyncClient(running.target) as client:
            return await asyncio.gather(*(client.compress(pixels(seed)) for seed in range(4)))

    begun = time.monotonic()
    results = asyncio.run(run())

    assert stored(results) == [pixels(seed).tobytes() for seed in range(4)]
    assert time.monotonic() - begun < 4 * 0.3
