"""A real server on loopback, in this process, with untrained models."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_client import Client
from kompakt_service.server import Server
from kompakt_service.settings import load_settings
from kompakt_service.store import ModelStore


@pytest.fixture
def serve(checkpoints: Path) -> Iterator[Callable[..., Server]]:
    """Start servers with settings of the test's own."""
    servers: list[Server] = []

    def start(models: Path = checkpoints, **settings: Any) -> Server:
        server = start_server(models, **settings)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop(grace_seconds=0)


def start_server(models: Path, **settings: Any) -> Server:
    defaults: dict[str, Any] = {
        "models": models,
        "host": "127.0.0.1",
        "port": 0,
        "metrics_port": 0,
        "device": "cpu",
    }
    server = Server(load_settings(defaults | settings))
    server.start()
    return server


@pytest.fixture(scope="module")
def server(checkpoints: Path) -> Iterator[Server]:
    server = start_server(checkpoints)
    yield server
    server.stop(grace_seconds=0)


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def compression(channel: grpc.Channel) -> pb_grpc.CompressionServiceStub:
    return pb_grpc.CompressionServiceStub(channel)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(f"127.0.0.1:{server.port}") as client:
        yield client


@pytest.fixture(scope="module")
def models(channel: grpc.Channel) -> pb_grpc.ModelServiceStub:
    return pb_grpc.ModelServiceStub(channel)


@pytest.fixture
def state_file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "models.json"


@pytest.fixture
def open_store(directory: Path, state_file: Path) -> Iterator[Callable[[], ModelStore]]:
    stores = []

    def make(**options: object) -> ModelStore:
        stores.append(ModelStore.load(directory, "cpu", state_file=state_file, **options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()
