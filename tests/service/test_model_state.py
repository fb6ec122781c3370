"""Several processes that keep to one state of models, and servers that start again with it."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_client import Client, DeadlineExceededError, ModelChangeError
from kompakt_codec.errors import CheckpointError
from kompakt_service.call import Call
from kompakt_service.errors import CallError
from kompakt_service.state import SharedState
from kompakt_service.store import ModelStore
from tests.service.live import FOREVER, references
from tests.service.support import metrics_page, raw, value
from tests.service.test_command import started
from tests.service.test_workers import running_group
from tests.support import make_checkpoint


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    models.mkdir()
    (models / "next").mkdir()
    make_checkpoint("ae", seed=0).save(models / "a.safetensors")
    for seed in (1, 2):
        make_checkpoint("ae", seed=seed).save(models / f"next/a{seed}.safetensors")
    return models


def test_every_process_has_a_change_when_its_caller_is_told(open_store):
    one, other = open_store(), open_store()

    added, _ = one.add("next/a1.safetensors", FOREVER)
    assert references(one) == references(other)
    assert other.snapshot().get(added.version.reference).codec is not added.codec
    assert other.snapshot().get("").version != added.version

    other.promote(added.version.reference, FOREVER)
    assert one.snapshot().get("").version == other.snapshot().get("").version == added.version

    one.roll_back("tiny-ae", FOREVER)
    assert one.snapshot().get("").version == other.snapshot().get("").version != added.version

    assert other.unload(added.version.reference, FOREVER) == [added.version]
    assert references(one) == references(other) == [one.snapshot().get("").version.reference]
    assert one.snapshot().registry == other.snapshot().registry


def test_changes_in_several_processes_at_once_are_made_one_after_the_other(open_store):
    stores = [open_store(), open_store()]
    paths = ["next/a1.safetensors", "next/a2.safetensors"]

    threads = [
        threading.Thread(target=store.add, args=(path, FOREVER), kwargs={"promote": True})
        for store, path in zip(stores, paths, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert references(stores[0]) == references(stores[1])
    assert len(references(stores[0])) == 3
    assert stores[0].snapshot().registry.revision == 4


def test_what_another_process_cannot_load_is_withdrawn(open_store, monkeypatch):
    one, other = open_store(), open_store()
    before = references(one)

    def broken(*_: object, **__: object) -> None:
        raise CheckpointError("no memory left")

    monkeypatch.setattr(other, "_loader", type("Broken", (), {"load": broken})())
    with pytest.raises(CheckpointError, match="another process of the server: no memory left"):
        one.add("next/a1.safetensors", FOREVER, promote=True)

    assert references(one) == references(other) == before


def test_what_another_process_does_not_load_in_time_is_withdrawn(open_store, monkeypatch):
    one, other = open_store(), open_store()
    gate = threading.Event()
    load = other._loader.load

    def slow(*_: object, **__: object) -> None:
        gate.wait(30)
        return load("next/a1.safetensors")

    monkeypatch.setattr(other, "_loader", type("Slow", (), {"load": staticmethod(slow)})())
    with pytest.raises(CallError) as caught:
        one.add("next/a1.safetensors", Call(time.monotonic() + 3, lambda: True))
    gate.set()

    assert caught.value.reason == "DEADLINE_EXCEEDED"
    assert len(references(one)) == 1
    monkeypatch.undo()
    one.promote("tiny-ae", FOREVER)  # waits for the other
    assert references(other) == references(one)


def test_a_store_starts_again_as_it_was(open_store, directory):
    store = open_store()
    added, _ = store.add("next/a1.safetensors", FOREVER, promote=True)
    make_checkpoint("vae", seed=3).save(directory / "later.safetensors")

    again = open_store()

    assert references(again) == references(store)
    assert again.snapshot().get("").version == added.version
    again.roll_back("tiny-ae", FOREVER)
    assert store.snapshot().get("").version != added.version


def test_another_default_is_taken_at_the_start(open_store, directory):
    make_checkpoint("vae", seed=3).save(directory / "vae.safetensors")
    assert open_store().snapshot().registry.default == "tiny-ae"

    assert open_store(default="tiny-vae").snapshot().get("").name == "tiny-vae"
    with pytest.raises(CheckpointError, match="default model 'nope' is not among"):
        open_store(default="nope")


def test_a_file_that_is_not_what_it_was_stops_the_start(open_store, directory):
    open_store()
    make_checkpoint("ae", seed=2).save(directory / "a.safetensors")
    with pytest.raises(CheckpointError, match="another file than the one that was loaded as"):
        open_store()
    (directory / "a.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot be read: No such file") as caught:
        open_store()
    assert str(caught.value).startswith(f"{directory}/a.safetensors: ")


def test_a_state_that_cannot_be_kept_is_said(directory):
    with pytest.raises(CheckpointError, match="cannot keep the state of models in /proc/x/y"):
        ModelStore.load(directory, "cpu", state_file=Path("/proc/x/y"))


def test_a_lost_state_file_is_written_again_by_the_next_change(open_store, state_file):
    store = open_store()
    state_file.unlink()
    time.sleep(0.5)
    assert references(store)

    store.add("next/a1.safetensors", FOREVER)

    assert len(json.loads(state_file.read_text())["versions"]) == 2


@given(data=st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_what_is_no_state_is_refused(tmp_path, data):
    path = tmp_path / "models.json"
    path.write_bytes(data)
    state = SharedState(path)
    state.join()
    with pytest.raises(CheckpointError, match="not a state of models"):
        state.read()
    state.close()


def test_a_process_that_was_killed_is_not_waited_for(serve, directory, state_file):
    flags = ["--port", "0", "--metrics-port", "0", "--host", "127.0.0.1", "--log-format", "json"]
    flags += ["--model-state", str(state_file), "--admin", "local"]
    with started(directory, *flags) as process:
        assert process.stderr is not None
        while (record := json.loads(process.stderr.readline()))["message"] != "serving":
            pass
        server = serve(directory, model_state=state_file, admin="local")
        with (
            Client(f"127.0.0.1:{server.port}") as here,
            Client(f"127.0.0.1:{record['port']}") as there,
        ):
            second = there.load_model("next/a1.safetensors", promote=True)
            assert here.model().version == there.model().version == second.version

            process.send_signal(signal.SIGSTOP)
            with pytest.raises((DeadlineExceededError, ModelChangeError)):
                here.load_model("next/a2.safetensors", timeout=2)
            process.send_signal(signal.SIGCONT)
            assert here.rollback_model("tiny-ae").version != second.version

            process.kill()
            process.wait()
            assert here.promote_model(second.reference).is_current


def fingerprints(channels: Iterable[grpc.Channel], pixels: np.ndarray) -> set[str]:
    """Of what each worker compresses with."""
    request = pb.CompressRequest(images=[raw(pixels)])
    stubs = [pb_grpc.CompressionServiceStub(channel) for channel in channels]
    return {stub.Compress(request).fingerprint for stub in stubs}


def test_the_workers_of_a_server_change_together(directory, digits):
    with running_group(directory, "--admin", "local") as group:
        channels, _ = group.channel_to_each(digits[0])
        with Client(f"127.0.0.1:{group.port}") as client:
            second = client.load_model("next/a1.safetensors")
            for channel in channels.values():
                pb_grpc.ModelServiceStub(channel).GetModel(
                    pb.GetModelRequest(name=second.reference)
                )
            client.promote_model(second.reference)
        assert fingerprints(channels.values(), digits[0]) == {second.fingerprint}
        page = metrics_page(group)
        assert value(page, "kompakt_model_info", version=second.version, current="true") == 1
        assert value(page, "kompakt_model_info") == 2

        since = group.count()
        os.kill(group.pids[0], signal.SIGKILL)
        group.wait_for("worker serving", since, worker=0)
        channels, _ = group.channel_to_each(digits[0])
        assert fingerprints(channels.values(), digits[0]) == {second.fingerprint}

        assert group.stop() == 0


def test_a_process_is_waited_for_only_from_where_it_has_its_turn(tmp_path):
    first, second = SharedState(tmp_path / "state.json"), SharedState(tmp_path / "state.json")
    first.join()
    first.report(1)

    first.await_others(1, Call(time.monotonic() + 5, lambda: True))  # the second does not count yet

    second.join()
    with pytest.raises(CallError, match="1 of the server's processes did not follow"):
        first.await_others(1, Call(time.monotonic() + 0.1, lambda: True))
    second.report(1)
    first.await_others(1, Call(time.monotonic() + 5, lambda: True))
    first.close()
    second.close()
