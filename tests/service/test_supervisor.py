"""The supervisor of ``kompakt serve --workers``: what starts, and what stops a start."""

import fcntl
import os
import shutil
import signal
import socket
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kompakt_service import supervisor, worker_group
from kompakt_service.orders import SERVE
from kompakt_service.ports import StartError, hold_port
from kompakt_service.settings import Settings, SettingsError, load_settings
from kompakt_service.supervisor import supervise
from kompakt_service.worker_process import WorkerProcess
from tests.service.test_command import run_to_its_end

LOOPBACK = {"host": "127.0.0.1", "port": 0, "metrics_port": 0, "device": "cpu"}


def settings_for(checkpoints: Path, **settings: Any) -> Settings:
    return load_settings({**LOOPBACK, "models": checkpoints, "workers": 2} | settings)


def test_a_worker_ends_when_its_supervisor_does(checkpoints, tmp_path):
    settings = settings_for(checkpoints, workers=1)
    with hold_port("127.0.0.1", 0) as holder:
        values = settings.model_dump(mode="json") | {"port": holder.getsockname()[1]}
        environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        worker = WorkerProcess(7, values, environment)
        assert worker.pipe.recv() == ("loaded", ["tiny-ae", "tiny-vae"])
        worker.send(SERVE)
        assert worker.pipe.recv() == ("serving",)
    assert worker.end() == 0  # which closes the pipe, and would kill it after a while


def run_and_fail(checkpoints: Path, *flags: str) -> str:
    status, stderr = run_to_its_end(checkpoints, "--workers", "2", "--device", "cpu", *flags)
    assert status == 1
    (line,) = [line for line in stderr.splitlines() if "model loaded" not in line]
    return line


def test_what_keeps_all_workers_from_starting_is_said_once(checkpoints):
    line = run_and_fail(
        checkpoints, "--port", "0", "--metrics-port", "0", "--default-model", "nope"
    )
    assert line == ("kompakt serve: the default model 'nope' is not among tiny-ae, tiny-vae")


@pytest.mark.parametrize("option", [socket.SO_REUSEADDR, socket.SO_REUSEPORT])
def test_a_taken_port_is_said(checkpoints, option):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, option, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"cannot listen on 127.0.0.1:{port}: is the port"):
            supervise(settings_for(checkpoints, port=port))
        with pytest.raises(StartError, match=r"cannot serve metrics on .* --metrics-port"):
            supervise(settings_for(checkpoints, metrics_port=port))
    with hold_port("127.0.0.1", 0) as held, pytest.raises(StartError, match="is the port in use"):
        hold_port("127.0.0.1", held.getsockname()[1])


def test_an_address_of_another_machine_is_said(checkpoints):
    with pytest.raises(StartError, match=r"cannot listen on 192\.0\.2\.1:0: .* assign"):
        supervise(settings_for(checkpoints, host="192.0.2.1"))


STAND_IN = """
import os, signal, sys, time
from multiprocessing.connection import Connection

pipe = Connection(int(sys.argv[-1]))
number, settings = pipe.recv()

def serve():
    pipe.send(("loaded", ["m"]))
    assert pipe.recv() == "serve"
    pipe.send(("serving",))

"""


def stand_in(code: str) -> list[str]:
    """A worker's command without torch and gRPC."""
    return [sys.executable, "-c", STAND_IN + code]


def signal_when_serving(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(supervisor, "_log_serving", lambda *_, **__: signal.raise_signal(number))


def test_workers_share_the_cores_or_have_a_gpu_each(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    path = tmp_path / "seen"
    code = f"""
with open({str(path)!r} + str(number), "w") as file:
    print(settings["device"], settings["torch_threads"], os.environ["OMP_NUM_THREADS"], file=file)
serve()
assert [pipe.recv(), pipe.recv()] == ["drain", "stop"]
"""
    signal_when_serving(monkeypatch, signal.SIGTERM)
    assert supervise(settings_for(checkpoints, device="cuda"), command=stand_in(code)) == 0
    assert [Path(f"{path}{n}").read_text() for n in (0, 1)] == ["cuda:0 3 3\n", "cuda:1 3 3\n"]


@pytest.mark.parametrize("name", ["full", "roomy"])
def test_workers_write_to_memory_where_there_is_room(checkpoints, tmp_path, monkeypatch, name):
    memory, elsewhere = tmp_path / name, tmp_path / "elsewhere"
    free = {tmp_path / "full": 1 << 20, tmp_path / "roomy": 1 << 30}
    monkeypatch.setattr(supervisor, "_SHARED_MEMORY", memory)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free[path]))
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    memory.mkdir()
    elsewhere.mkdir()
    code = f"""
with open({str(tmp_path / "seen")!r}, "w") as file:
    file.write(os.path.dirname(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
serve()
assert [pipe.recv(), pipe.recv()] == ["drain", "stop"]
"""
    signal_when_serving(monkeypatch, signal.SIGTERM)
    assert supervise(settings_for(checkpoints), command=stand_in(code)) == 0
    assert (tmp_path / "seen").read_text() == str(memory if name == "roomy" else elsewhere)


def test_what_a_killed_supervisor_left_is_removed(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "_SHARED_MEMORY", tmp_path)
    for name in ("left", "held"):
        (tmp_path / f"kompakt-workers-{name}").mkdir()
        (tmp_path / f"kompakt-workers-{name}/counter_0.db").touch()
    held = os.open(tmp_path / "kompakt-workers-held", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    signal_when_serving(monkeypatch, signal.SIGTERM)
    code = """
serve()
assert [pipe.recv(), pipe.recv()] == ["drain", "stop"]
"""
    assert supervise(settings_for(checkpoints), command=stand_in(code)) == 0
    os.close(held)
    assert [path.name for path in tmp_path.rglob("*")] == ["kompakt-workers-held", "counter_0.db"]


def test_groups_may_start_at_the_same_time(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "_SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 30))

    def start(_):
        for _ in range(100):
            with supervisor._directory(workers=2) as directory:
                (directory / "counter_0.db").touch()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ('pipe.send(("failed", "no checkpoint"))', "^no checkpoint$"),
        ("os.kill(os.getpid(), 9)", "worker . cannot start: it ended with signal SIGKILL"),
        ("sys.exit(3)", "worker . cannot start: it ended with status 3"),
    ],
)
def test_a_worker_that_cannot_start_ends_all(checkpoints, code, message):
    with pytest.raises(StartError, match=message):
        supervise(settings_for(checkpoints), command=stand_in(code))


def test_when_no_worker_stays_alive_the_group_gives_up(checkpoints, monkeypatch, caplog):
    monkeypatch.setattr(worker_group, "_MAX_PAUSE_SECONDS", 0.01)
    with pytest.raises(StartError, match=r"no worker stays alive; of the last one: .* status 3"):
        supervise(settings_for(checkpoints), command=stand_in("serve(); sys.exit(3)"))
    lost = [r.worker for r in caplog.records if r.message == "worker lost"]
    assert lost.count(0) >= 4
    assert lost.count(1) >= 4


def test_a_worker_that_does_not_end_is_killed(checkpoints, monkeypatch):
    monkeypatch.setattr(worker_group, "_MARGIN_SECONDS", 0.5)
    signal_when_serving(monkeypatch, signal.SIGINT)
    settings = settings_for(checkpoints, grace_seconds=0, drain_seconds=600)
    assert supervise(settings, command=stand_in("serve(); time.sleep(600)")) == 1


def test_a_signal_while_workers_start_ends_them(checkpoints):
    code = "os.kill(os.getppid(), signal.SIGTERM); time.sleep(600)"
    assert supervise(settings_for(checkpoints), command=stand_in(code)) == 0


@pytest.mark.parametrize(
    ("gpus", "device", "expected"),
    [
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (2, "auto", "cuda"),
        (2, "cuda", "cuda"),
        (2, "cpu", "cpu"),
    ],
)
def test_the_device_of_several_workers(checkpoints, monkeypatch, gpus, device, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert settings_for(checkpoints, device=device).device == expected


@pytest.mark.parametrize(
    ("gpus", "device", "message"),
    [
        (1, "auto", "2 workers need a GPU each, and CUDA devices here are 1"),
        (1, "cuda", "2 workers need a GPU each, and CUDA devices here are 1"),
        (2, "cuda:1", "cuda:1 is one GPU, and a GPU takes one worker"),
        (0, "cuda", "no such GPU"),
    ],
)
def test_a_device_that_workers_cannot_share_is_refused(
    checkpoints, monkeypatch, gpus, device, message
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(SettingsError, match=message):
        settings_for(checkpoints, device=device)


def test_several_workers_need_linux(checkpoints, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(SettingsError, match="only Linux spreads"):
        settings_for(checkpoints)
    assert settings_for(checkpoints, workers=1).workers == 1
