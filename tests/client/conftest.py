"""A fake server on the loopback for each test, and both clients of it."""

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kompakt_client import AsyncClient, Client, RetryPolicy
from kompakt_client.cli import main
from tests.client.fake_server import FakeServer, serve

FAST = RetryPolicy(max_attempts=4, initial_backoff=0.01, max_backoff=0.05)


class Running:
    """A fake server that can die and come back on the same port."""

    def __init__(self) -> None:
        self.state = FakeServer()
        self._server, self.target = serve(self.state)

    def stop(self) -> None:
        self._server.stop(None).wait()

    def restart(self) -> None:
        self.stop()
        self._server, _ = serve(self.state, self.target)


class Blocking:
    """The async client with the methods of the sync one, so that one test covers both."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = getattr(self._client, name)(*args, **kwargs)
            if inspect.isasyncgen(result):
                return self._iterate(result)
            return self._runner.run(result)

        return call

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def _iterate(self, results: Any) -> Iterator[Any]:
        async def advance() -> Any:
            return await anext(results, None)

        try:
            while (result := self._runner.run(advance())) is not None:
                yield result
        finally:
            self._runner.run(results.aclose())


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TARGET", "TOKEN", "TIMEOUT", "CA", "CERT", "KEY"):
        monkeypatch.delenv(f"KOMPAKT_{name}", raising=False)


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running()
    yield running
    running.stop()


@pytest.fixture
def fake(running: Running) -> FakeServer:
    return running.state


@pytest.fixture(params=[Client, Blocking], ids=["sync", "async"])
def make_client(request: pytest.FixtureRequest, running: Running) -> Iterator[Any]:
    clients = []

    def make(**kwargs: Any) -> Any:
        settings = {"target": running.target, "retry": FAST, "timeout": 10, **kwargs}
        clients.append(request.param(**settings))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(make_client: Any) -> Any:
    return make_client()


@pytest.fixture
def image() -> np.ndarray:
    return pixels(0)


@pytest.fixture
def in_directory(running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make an empty directory the current one, and the fake server the one that is called."""
    monkeypatch.setenv("KOMPAKT_TARGET", running.target)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(in_directory: None, capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ARG001
    """Run a command; return its status, what it printed, and the lines it complained in."""

    def call(*arguments: object) -> tuple[int, str, list[str]]:
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, err.splitlines()

    return call


def pixels(seed: int, height: int = 28, width: int = 28) -> np.ndarray:
    """Return a grey image that no other seed gives, uint8 HWC."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 1), np.uint8)


def write_png(path: Path, seed: int = 0, **size: int) -> Path:
    """Write the image of a seed to a file, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, **size)[..., 0]).save(path)
    return path
