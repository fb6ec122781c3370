"""Clients that ask, over a connection on which nothing comes, whether the server is there."""

import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kompakt_service import server as server_module
from kompakt_service.server import Server

PING_MS = 1000
"""gRPC's clients ping no more often."""


@pytest.fixture
def patient(serve, monkeypatch) -> Server:
    """A server that takes two pings a second."""
    monkeypatch.setattr(server_module, "PING_INTERVAL_MS", PING_MS // 2)
    return serve()


def test_a_long_call_outlives_its_pings(patient):
    options = [("grpc.keepalive_time_ms", PING_MS), ("grpc.http2.max_pings_without_data", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{patient.port}", options=options) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        ended = threading.Event()
        watch.add_callback(ended.set)

        assert not ended.wait(4.5)  # the third ping that comes too early ends a connection
        watch.cancel()
