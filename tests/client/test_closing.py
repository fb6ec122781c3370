"""What becomes of calls under way when their client is closed."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from kompakt_client import AsyncClient, Client, RetryPolicy, UnknownModelError
from tests.client.conftest import pixels
from tests.client.fake_server import Fault, grpc

CALLS = pytest.mark.parametrize(
    ("method", "argument"),
    [
        ("compress", pixels(0)),
        ("compress_batch", [pixels(0)]),
        ("compress_many", [pixels(0)]),
        ("evaluate", [pixels(0)]),
        ("model", "fake-ae"),
    ],
)
ONCE = RetryPolicy(max_attempts=1)


def wait_for_a_call(fake):
    while not fake.calls:
        time.sleep(0.01)


def finish(made):
    return list(made) if isinstance(made, Iterator) else made


async def start(client, fake, method, argument):
    """Return the task of a call that has reached the server."""

    async def call():
        made = getattr(client, method)(argument)
        if method == "compress_many":
            return [result async for result in made]
        return await made

    task = asyncio.create_task(call())
    await asyncio.to_thread(wait_for_a_call, fake)
    return task


@CALLS
def test_a_call_under_way_says_that_the_client_is_closed(running, fake, method, argument):
    fake.delay = 2.0
    client = Client(running.target, retry=ONCE)

    def close():
        wait_for_a_call(fake)
        client.close()

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(RuntimeError, match="the client is closed"):
        finish(getattr(client, method)(argument))
    closer.join()


@CALLS
def test_a_call_whose_client_is_closed_as_it_begins_says_so(running, method, argument):
    def token():
        client.close()
        return "token"

    client = Client(running.target, token=token)

    with pytest.raises(RuntimeError, match="the client is closed"):
        finish(getattr(client, method)(argument))


def test_a_client_that_is_closed_ends_its_runs(running):
    client = Client(running.target)
    results = client.compress_many(pixels(n, 2, 2) for n in range(1000))
    next(results)

    client.close()

    with pytest.raises(RuntimeError, match="the client is closed"):
        list(results)


@CALLS
def test_an_asynchronous_call_under_way_says_so_too(running, fake, method, argument):
    fake.delay = 2.0

    async def run():
        async with AsyncClient(running.target, retry=ONCE) as client:
            task = await start(client, fake, method, argument)
        with pytest.raises(RuntimeError, match="the client is closed"):
            await task

    asyncio.run(run())


@CALLS
def test_a_task_that_is_cancelled_stays_so(running, fake, method, argument):
    fake.delay = 2.0

    async def run():
        async with AsyncClient(running.target, retry=ONCE) as client:
            task = await start(client, fake, method, argument)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_cancellation_that_comes_with_an_input_is_not_lost(running, fake):
    fake.delay = 1.0

    async def run():
        async def images():
            yield pixels(0)
            await asyncio.sleep(0.2)
            yield pixels(1)
            task.cancel()
            await asyncio.sleep(60)

        async def take():
            async with AsyncClient(running.target) as client:
                return [result async for result in client.compress_many(images())]

        task = asyncio.create_task(take())
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)

    asyncio.run(run())


def test_an_asynchronous_client_says_that_it_is_of_another_event_loop(running):
    client = AsyncClient(running.target)
    asyncio.run(client.compress(pixels(0)))

    with pytest.raises(RuntimeError, match="another event loop: use one client in each"):
        asyncio.run(client.compress(pixels(0)))


def test_a_word_of_the_server_is_heard_although_the_client_is_closed(running, fake, monkeypatch):
    fake.faults.append(Fault(grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL"))
    client = Client(running.target)
    told = client._settings.metadata

    def close_after_connecting(_):
        client._closed = True
        return told()

    monkeypatch.setattr(type(client._settings), "metadata", close_after_connecting)
    with client, pytest.raises(UnknownModelError):
        client.compress(pixels(0))
