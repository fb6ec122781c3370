"""Streams of HTTP/2 that something between client and server resets, as proxies do."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kompakt_client import AsyncClient, Client, RetryPolicy, UnavailableError
from tests.client.conftest import pixels

TWICE = RetryPolicy(max_attempts=2, initial_backoff=0.0)
_HEADERS, _RESET, _SETTINGS = 1, 3, 4
_ACK = 1
_INTERNAL_ERROR = struct.pack(">I", 2)
"""With which nginx ends the streams of a server that has died."""


class Proxy:
    """Takes one connection, and resets each of its streams at its first headers."""

    def __init__(self, listener: socket.socket) -> None:
        self.target = f"127.0.0.1:{listener.getsockname()[1]}"
        self.num_streams = 0
        self._listener = listener

    def run(self) -> None:
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as incoming:
            incoming.read(24)  # the preface
            connection.sendall(_frame(_SETTINGS))
            while head := incoming.read(9):
                high, low, kind, flags, stream = struct.unpack(">BHBBI", head)
                incoming.read((high << 16) + low)
                if kind == _SETTINGS and not flags & _ACK:
                    connection.sendall(_frame(_SETTINGS, flags=_ACK))
                elif kind == _HEADERS:
                    self.num_streams += 1
                    connection.sendall(_frame(_RESET, _INTERNAL_ERROR, stream=stream))


def _frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return struct.pack(">BHBBI", 0, len(payload), kind, flags, stream) + payload


@contextmanager
def resetting_proxy() -> Iterator[Proxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Proxy(listener)
        # A daemon, as a client of asyncio may keep its connection for a while.
        threading.Thread(target=proxy.run, daemon=True).start()
        yield proxy


def _call(target: str) -> None:
    with Client(target, retry=TWICE) as client:
        client.models()


def _run(target: str) -> None:
    with Client(target, retry=TWICE) as client:
        list(client.compress_many([pixels(0, 2, 2)]))


def _call_async(target: str) -> None:
    async def call() -> None:
        async with AsyncClient(target, retry=TWICE) as client:
            await client.models()

    asyncio.run(call())


@pytest.mark.parametrize("attempt", [_call, _run, _call_async])
def test_a_stream_that_is_reset_is_lost_and_tried_again(attempt):
    with resetting_proxy() as proxy, pytest.raises(UnavailableError, match="RST_STREAM"):
        attempt(proxy.target)

    assert proxy.num_streams == 2


def test_a_change_of_models_is_not_tried_again():
    def change() -> None:
        with Client(proxy.target, retry=TWICE) as client:
            client.rollback_model("m")

    with resetting_proxy() as proxy, pytest.raises(UnavailableError, match="RST_STREAM"):
        change()

    assert proxy.num_streams == 1
