from collections.abc import Iterator

import numpy as np
import pytest

from kompakt_client import Client
from kompakt_service.settings import DEFAULT_MODELS
from kompakt_training.data import load_dataset
from kompakt_training.errors import TrainingError
from tests.service.conftest import start_server


@pytest.fixture(scope="session")
def test_digits() -> np.ndarray:
    """All 10,000 of MNIST's test digits, uint8 (10000, 28, 28, 1)."""
    try:
        return load_dataset("mnist").test
    except TrainingError as exc:
        pytest.skip(f"MNIST is not here: {exc}")


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A client of a server with the default models."""
    server = start_server(DEFAULT_MODELS)
    with Client(f"127.0.0.1:{server.port}", timeout=600) as client:
        yield client
    server.stop(grace_seconds=0)
