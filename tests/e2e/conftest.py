"""The service as users run it: a process of its own, on its default checkpoints."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def running_service(bin_directory: Path, *flags: str) -> Iterator[str]:
    """Run ``kompakt serve`` on free ports; its target. It must stop cleanly on SIGTERM."""
    command = [bin_directory / "kompakt", "serve", "--host", "127.0.0.1", "--log-format", "json"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--metrics-port", "0", *flags], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            record = json.loads(line)
            if record["message"] == "serving":
                break
        else:
            raise AssertionError("the service did not start")
        yield f"127.0.0.1:{record['port']}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.fixture(scope="session")
def bin_directory() -> Path:
    return Path(sys.executable).parent


@pytest.fixture(scope="session")
def target(bin_directory: Path) -> Iterator[str]:
    with running_service(bin_directory) as target:
        yield target
