"""Those who watch the server's health: each by itself, whatever becomes of the others."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kompakt_service.server import SERVICES, Server

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
WATCH = "/grpc.health.v1.Health/Watch"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4


@contextmanager
def own_channel(server: Server) -> Iterator[grpc.Channel]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
        yield channel


def watch(channel: grpc.Channel, service: str = "") -> Iterator[health_pb2.HealthCheckResponse]:
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Watch(request, timeout=60)


def is_healthy(channel: grpc.Channel) -> bool:
    check = health_pb2_grpc.HealthStub(channel).Check
    return check(health_pb2.HealthCheckRequest(), timeout=20).status == SERVING


def frame(kind: int, flags: int, payload: bytes, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def literal(name: str, value: str) -> bytes:
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


@contextmanager
def one_who_takes_no_answer(server: Server) -> Iterator[None]:
    """A watcher with a window of no bytes: the answer is due, and never sent."""
    headers = {":method": "POST", ":scheme": "http", ":path": WATCH, ":authority": "localhost"}
    headers |= {"te": "trailers", "content-type": "application/grpc"}
    window = (4).to_bytes(2) + bytes(4)
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as connection:
        connection.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(_SETTINGS, 0, window)
            + frame(
                _HEADERS, _END_HEADERS, b"".join(literal(*one) for one in headers.items()), stream=1
            )
            + frame(_DATA, _END_STREAM, bytes(5), stream=1)
        )
        with connection.makefile("rb") as file:
            # Its headers need no window, and go with it.
            while (head := file.read(9))[3] != _HEADERS:
                file.read(int.from_bytes(head[:3]))
            yield


def test_one_who_takes_no_answer_keeps_nobody_from_one(server):
    with own_channel(server) as channel, own_channel(server) as other:
        early = watch(channel)
        assert next(early).status == SERVING
        with one_who_takes_no_answer(server):
            assert is_healthy(other)
            late = watch(other)
            assert next(late).status == SERVING
            early.cancel()
            assert is_healthy(other)
            late.cancel()


def test_watchers_that_come_and_go_at_once_do_not_stop_the_server(server):
    def come_and_go() -> None:
        with own_channel(server) as channel:
            for _ in range(50):
                response = watch(channel)
                statuses.append(next(response).status)
                response.cancel()

    statuses: list[int] = []
    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [SERVING] * 200


def test_watchers_that_never_say_of_what_keep_nobody_from_it(server):
    never = threading.Event()
    with own_channel(server) as idle, own_channel(server) as channel:
        silent = [idle.stream_stream(WATCH)(iter(lambda: never.wait(60), True)) for _ in range(20)]
        for _ in range(3):
            response = watch(channel)
            assert next(response).status == SERVING
            response.cancel()
        never.set()
        for call in silent:
            call.cancel()


def test_watchers_hear_that_the_server_stops_and_do_not_keep_it(serve):
    server = serve()
    with own_channel(server) as channel:
        responses = [watch(channel, service) for service in ("", *SERVICES)]
        assert [next(response).status for response in responses] == [SERVING] * len(responses)
        with one_who_takes_no_answer(server):
            server.drain()
            statuses = [next(response).status for response in responses]
            assert statuses == [NOT_SERVING] * len(responses)
        stopping = threading.Thread(target=server.stop, args=(3600,), daemon=True)
        stopping.start()
        for response in responses:
            with pytest.raises(grpc.RpcError) as caught:
                next(response)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert caught.value.details() == "the server is shutting down"
        stopping.join(60)
        assert not stopping.is_alive()


def test_without_threads_to_tell_them_watchers_hear_at_the_next_change(serve, monkeypatch, caplog):
    server, start = serve(), threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "health":
            raise RuntimeError("can't start new thread")
        start(thread)

    with own_channel(server) as channel:
        response = watch(channel)
        assert next(response).status == SERVING
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            server.drain()
        assert "no thread to tell a watcher of health" in caplog.text
        server.drain()
        assert next(response).status == NOT_SERVING
        response.cancel()


def test_a_service_that_is_not_there_can_be_watched(channel):
    response = watch(channel, "kompakt.v1.Nothing")
    assert next(response).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    response.cancel()
