"""A server whose models may be changed, and files to change them with."""

from pathlib import Path

import pytest

from kompakt_client import Client
from kompakt_service.server import Server
from tests.support import (
    make_checkpoint,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """One model in use, two other versions of it and another model in a sub-directory."""
    models = tmp_path / "models"
    (models / "next").mkdir(parents=True)
    make_checkpoint("ae", seed=0).save(models / "a.safetensors")
    for seed in (1, 2):
        make_checkpoint("ae", seed=seed).save(models / f"next/a{seed}.safetensors")
    make_checkpoint("vae", seed=9).save(models / "next/vae.safetensors")
    return models


@pytest.fixture
def server(serve, directory: Path) -> Server:
    return serve(directory, admin="local")


@pytest.fixture
def client(server: Server):
    with Client(f"127.0.0.1:{server.port}") as client:
        yield client
