"""Calls that change the models are few at a time, and nobody else waits for them."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_codec.models import ImageSpec
from kompakt_service.server import Server
from tests.service.live import another_change, eventually
from tests.service.support import details, failure, metrics_page, status_of, value
from tests.service.test_command import started
from tests.support import make_any_size_checkpoint

LARGE = pb.UnloadModelRequest(model="x" * 1_000_000)
ACCEPTED = 8
"""Calls of one caller."""


@pytest.fixture
def server(serve, directory: Path, state_file: Path) -> Server:
    return serve(directory, admin="local", model_state=state_file)


@pytest.fixture
def admin(server: Server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield pb_grpc.ModelAdminServiceStub(channel)


def received(server: Server) -> float:
    service = "kompakt.v1.ModelAdminService"
    return value(metrics_page(server), "grpc_server_msg_received_total", grpc_service=service)


def test_changes_that_wait_are_few_and_go_with_their_callers(server, admin, state_file):
    with another_change(state_file):
        calls = [admin.UnloadModel.future(LARGE) for _ in range(40)]
        assert eventually(lambda: sum(call.done() for call in calls) == 40 - ACCEPTED, 10)
        waiting = [call for call in calls if not call.done()]
        for call in set(calls) - set(waiting):
            assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert details(status_of(call.exception())).keys() == {"ErrorInfo", "RetryInfo"}
        assert received(server) == 1  # that whose turn it is

        for call in waiting:
            call.cancel()

        assert eventually(lambda: server._calls._admin.num_pending() == 0, 10)
    unknown = (grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL")
    assert failure(lambda: admin.UnloadModel(pb.UnloadModelRequest(model="nobody"))) == unknown


def test_whoever_may_change_nothing_waits_for_no_change(server, admin, state_file, monkeypatch):
    with another_change(state_file):
        calls = [admin.UnloadModel.future(LARGE) for _ in range(ACCEPTED)]
        assert eventually(lambda: received(server) == 1, 10)
        monkeypatch.setattr("kompakt_service.admin.is_local", lambda _: False)

        refused = (grpc.StatusCode.PERMISSION_DENIED, "ADMIN_REFUSED")
        for _ in range(40):
            assert failure(lambda: admin.UnloadModel(LARGE, timeout=10)) == refused

        assert received(server) == 1
        assert not any(call.done() for call in calls)


@contextmanager
def serving(directory: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], grpc.Channel]]:
    """``kompakt serve`` and a channel to it."""
    loopback = ["--port", "0", "--metrics-port", "0", "--host", "127.0.0.1", "--device", "cpu"]
    flags = (*loopback, "--admin", "local", "--log-format", "json", *flags)
    with started(directory, *flags) as process:
        assert process.stderr is not None
        while (record := json.loads(process.stderr.readline()))["message"] != "serving":
            pass
        with grpc.insecure_channel(f"127.0.0.1:{record['port']}") as channel:
            yield process, channel


def last_words(process: subprocess.Popen[str]) -> str:
    """What the process logs when it has ended well, long before the grace."""
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 0
    return json.loads(rest.splitlines()[-1])["message"]


def test_a_change_that_waits_does_not_keep_the_process(directory, state_file):
    flags = ["--model-state", str(state_file), "--grace-seconds", "600"]
    with serving(directory, *flags) as (process, channel), another_change(state_file):
        before = state_file.read_bytes()
        admin = pb_grpc.ModelAdminServiceStub(channel)
        call = admin.RollbackModel.future(pb.RollbackModelRequest(name="tiny-ae"))
        with pytest.raises(grpc.FutureTimeoutError):
            call.result(timeout=1)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1.5)
        process.send_signal(signal.SIGTERM)
        assert last_words(process) == "stopped"
        assert state_file.read_bytes() == before


def test_a_checkpoint_that_is_being_loaded_does_not_keep_the_process(directory):
    spec = ImageSpec(height=512, width=512, channels=3)  # its test takes seconds
    make_any_size_checkpoint(spec=spec, blocks=16).save(directory / "next/slow.safetensors")
    with serving(directory, "--grace-seconds", "0") as (process, channel):
        admin = pb_grpc.ModelAdminServiceStub(channel)
        call = admin.LoadModel.future(pb.LoadModelRequest(path="next/slow.safetensors"))
        with pytest.raises(grpc.FutureTimeoutError):
            call.result(timeout=0.5)
        process.send_signal(signal.SIGTERM)
        assert last_words(process) == "stopped"
