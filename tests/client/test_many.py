"""Any number of items, over the streaming methods."""

import asyncio
import gc
import itertools
import threading
import time
import tracemalloc

from kompakt_client import (
    AsyncClient,
    Compressed,
    Failure,
)
from tests.client.conftest import pixels
from tests.client.fake_codec import pixels_in, stored


def test_results_come_in_order(client, fake):
    images = [pixels(seed, 4, 4) for seed in range(300)]

    results = list(client.compress_many(images, model="fake-vae"))

    assert stored(results) == [image.tobytes() for image in images]
    assert {result.model for result in results} == {"fake-vae"}
    assert [result.index for result in results] == list(range(300))
    assert fake.calls == ["StreamCompress"]
    assert len(fake.requests[0].images) < 64
    assert max(len(request.images) for request in fake.requests) == 64


def test_heavy_images_go_in_messages_of_a_megabyte(client, fake):
    images = [pixels(seed, 60, 7000) for seed in range(6)]

    assert len(list(client.compress_many(images))) == 6

    assert max(len(request.images) for request in fake.requests) <= 2


def test_results_may_come_as_they_are_completed(make_client, fake):
    client = make_client(connections=3)
    fake.delay = 0.01

    results = list(client.compress_many([pixels(n, 2, 2) for n in range(900)], ordered=False))

    by_index = {result.index: pixels_in(result.data) for result in results}
    assert len(results) == len(by_index) == 900
    assert by_index == {n: pixels(n, 2, 2).tobytes() for n in range(900)}


def test_every_connection_is_used(make_client, fake):
    client = make_client(connections=3)

    list(client.compress_many(pixels(seed, 2, 2) for seed in range(300)))
    for seed in range(6):
        client.compress(pixels(seed))

    assert fake.num_calls("StreamCompress") == 3
    assert len(set(fake.peers)) >= 3


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


def test_no_more_than_a_window_is_read_ahead(client):
    taken = itertools.count()
    images = (pixels(next(taken), 2, 2) for _ in iter(int, 1))

    results = client.compress_many(images)
    for _ in range(100):
        next(results)
    time.sleep(0.1)
    results.close()

    assert next(taken) <= 100 + 4 * 64 + 16


def test_memory_stays_flat_over_a_long_run(client):
    images = (pixels(0, 64, 4000) for _ in range(400))
    tracemalloc.start()
    try:
        for _ in client.compress_many(images):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 60 * 64 * 4000


def test_a_result_does_not_wait_for_inputs_that_are_slow(running):
    answered = asyncio.Event()

    async def images():
        yield pixels(0)
        await answered.wait()
        yield pixels(1)

    async def run():
        async with AsyncClient(running.target) as client:
            seeds = []
            async for result in client.compress_many(images()):
                seeds.append(result.index)
                answered.set()
            return seeds

    assert asyncio.run(asyncio.wait_for(run(), 10)) == [0, 1]


def test_streams_of_different_models_get_streams_of_their_own(client, fake, image):
    embedded = client.compress(image, model="fake-vae", profile="embedded")
    plain = client.compress(image)

    results = list(client.decompress_many([plain, plain, embedded, plain]))

    assert [result.model for result in results] == ["fake-ae", "fake-ae", "fake-vae", "fake-ae"]
    assert fake.num_calls("StreamDecompress") == 3


def test_a_run_ends_cleanly_for_the_server(client, fake):
    list(client.compress_many([pixels(0)]))
    client.evaluate([pixels(seed) for seed in range(20)])

    assert fake.num_clean_ends == 2


def test_leaving_a_run_early_ends_its_stream_and_leaves_no_thread(client, fake):
    before = set(threading.enumerate())
    results = client.compress_many(pixels(seed, 2, 2) for seed in range(2000))
    next(results)
    results.close()

    def left():
        started = set(threading.enumerate()) - before
        return [t.name for t in started if "stream" in t.name or "consume_request" in t.name]

    deadline = time.monotonic() + 5
    while (left() or not fake.streams_over) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left() == []
    assert fake.streams_over == ["StreamCompress"]


def test_leaving_a_run_early_lets_go_of_its_source(client):
    closed = []

    def images():
        try:
            yield from (pixels(seed, 2, 2) for seed in range(2000))
        finally:
            closed.append(True)

    results = client.compress_many(images())
    gc.disable()
    try:
        next(results)
        results.close()
        client.server_info()
        assert closed == [True]
    finally:
        gc.enable()


def test_a_run_may_be_left_before_it_begins(client, fake):
    client.compress_many([pixels(0)]).close()

    assert fake.calls == []


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
