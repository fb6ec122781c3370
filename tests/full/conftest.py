from collections.abc import Iterator

import pytest

from kompakt_client import Client
from kompakt_service.settings import DEFAULT_MODELS
from tests.service.conftest import start_server


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A client of a server with the default models."""
    server = start_server(DEFAULT_MODELS)
    with Client(f"127.0.0.1:{server.port}", timeout=600) as client:
        yield client
    server.stop(grace_seconds=0)
