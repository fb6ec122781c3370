"""What is unloaded is gone."""

import gc
import os
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    codec = weakref.ref(server.store.get("").codec)
    network = weakref.ref(server.store.get("").codec._model)
    client.load_model("next/a1.safetensors", promote=True)
    assert codec() is not None

    client.unload_model(first.reference)

    assert eventually(lambda: codec() is None and network() is None)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_returns(client, directory):
    big = make_checkpoint("ae", seed=5, name="big", width=512)
    big.save(directory / "next/big.safetensors")
    del big
    gc.collect()
    client.load_model("next/big.safetensors")
    client.unload_model("big", all_versions=True)
    time.sleep(1)
    before = resident()
    for _ in range(3):
        client.load_model("next/big.safetensors")
        assert resident() > before + (30 << 20)
        client.unload_model("big", all_versions=True)
        assert eventually(lambda: resident() < before + (8 << 20))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
