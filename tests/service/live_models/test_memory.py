"""What is unloaded is gone."""

import gc
import json
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kompakt_client import Client
from kompakt_codec.codec import Codec
from kompakt_service.self_test import self_test
from tests.service.live import eventually
from tests.support import (
    make_any_size_checkpoint,
    make_checkpoint,
    make_label_checkpoint,
    make_level_checkpoint,
)


@pytest.fixture
def no_gc() -> Iterator[None]:
    """References must be enough: a full collection would stop all calls for long."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_checkpoint("ae"),
        make_label_checkpoint,
        make_level_checkpoint,
        make_any_size_checkpoint,
    ],
    ids=["ae", "cvae", "context", "hyperprior"],
)
@pytest.mark.usefixtures("no_gc")
def test_no_part_of_a_codec_holds_another_forever(make):
    codec = Codec(make())
    self_test(codec)
    parts = [weakref.ref(parameter) for parameter in codec._model.parameters()]
    parts += [weakref.ref(part) for part in (codec, codec._model, codec._entropy)]

    del codec

    assert [part() for part in parts if part() is not None] == []


@pytest.mark.usefixtures("no_gc")
def test_an_unloaded_model_is_forgotten(server, client, digits):
    first = client.model()
    client.decompress(client.compress(digits[0]))
    codec = weakref.ref(server.store.snapshot().get("").codec)
    network = weakref.ref(server.store.snapshot().get("").codec._model)
    client.load_model("next/a1.safetensors", promote=True)
    assert codec() is not None

    client.unload_model(first.reference)

    assert eventually(lambda: codec() is None and network() is None)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_returns(directory):
    """In a process of its own: what else a test run holds comes and goes."""
    make_checkpoint("ae", seed=5, name="big", width=512).save(directory / "next/big.safetensors")
    with serving(directory) as (client, process):
        client.load_model("next/big.safetensors")
        client.unload_model("big", all_versions=True)
        time.sleep(1)
        before = resident(process)
        for _ in range(3):
            client.load_model("next/big.safetensors")
            assert resident(process) > before + (30 << 20)
            client.unload_model("big", all_versions=True)
            assert eventually(lambda: resident(process) < before + (8 << 20))


@contextmanager
def serving(directory: Path) -> Iterator[tuple[Client, int]]:
    """A client of ``kompakt serve`` and the service's process."""
    command = [Path(sys.executable).parent / "kompakt", "serve", "--models", directory]
    flags = ["--admin", "local", "--port", "0", "--metrics-port", "0", "--log-format", "json"]
    with subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            while (record := json.loads(process.stderr.readline()))["message"] != "serving":
                pass
            with Client(f"127.0.0.1:{record['port']}") as client:
                yield client, process.pid
        finally:
            process.terminate()
        process.communicate(timeout=60)


def resident(process: int) -> int:
    """Bytes of memory of its own: pages of libraries come as their code is first run."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) << 10
