"""``kompakt serve --workers``: several processes on one port."""

import fcntl
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import psutil
import pytest
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_service import supervisor, worker_group
from kompakt_service.orders import SERVE
from kompakt_service.ports import StartError, hold_port
from kompakt_service.settings import Settings, SettingsError, load_settings
from kompakt_service.supervisor import supervise
from kompakt_service.worker_process import WorkerProcess
from tests.service.live import eventually
from tests.service.support import metrics_page, raw, value
from tests.service.test_command import start_process

LOOPBACK = {"host": "127.0.0.1", "port": 0, "metrics_port": 0, "device": "cpu"}
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Group:
    """A supervisor with two workers, and what they log."""

    def __init__(self, checkpoints: Path, *flags: str) -> None:
        ours = ["--workers", "2", "--port", "0", "--metrics-port", "0", "--device", "cpu"]
        logs = ["--log-level", "debug", "--log-format", "json"]
        self.process = start_process(checkpoints, *ours, *logs, *flags)
        self._records: list[dict[str, Any]] = []
        self._heard = threading.Condition()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        serving = self.wait_for("serving")
        self.port, self.metrics_port = serving["port"], serving["metrics_port"]
        self.pids = {n: self.wait_for("worker serving", worker=n)["pid"] for n in (0, 1)}
        self.channels = ExitStack()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._heard:
                self._records.append(json.loads(line))
                self._heard.notify_all()

    def count(self) -> int:
        with self._heard:
            return len(self._records)

    def find(self, message: str, since: int = 0, **fields: Any) -> dict[str, Any] | None:
        wanted = {"message": message, **fields}.items()
        return next((r for r in self._records[since:] if wanted <= r.items()), None)

    def wait_for(self, message: str, since: int = 0, **fields: Any) -> dict[str, Any]:
        with self._heard:
            assert self._heard.wait_for(lambda: self.find(message, since, **fields), timeout=200)
            found = self.find(message, since, **fields)
        assert found is not None
        return found

    def compress(self, channel: grpc.Channel, pixels: Any) -> int:
        """Compress an image; returns the number of the worker that did."""
        since = self.count()
        request = pb.CompressRequest(images=[raw(pixels)])
        assert pb_grpc.CompressionServiceStub(channel).Compress(request).results
        return self.wait_for("call", since, grpc_method="Compress")["worker"]

    def channel_to_each(self, pixels: Any) -> tuple[dict[int, grpc.Channel], int]:
        """A channel to each worker, and how many calls it took to find them."""
        found: dict[int, grpc.Channel] = {}
        for calls in range(1, 65):
            # Channels of one process share a connection unless they are told not to.
            options = [("grpc.use_local_subchannel_pool", 1)]
            channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", options)
            self.channels.enter_context(channel)
            found.setdefault(self.compress(channel, pixels), channel)
            if len(found) == 2:
                return found, calls
        raise AssertionError(f"64 connections, all to worker {set(found)}")

    def wait(self) -> int:
        """Wait for the end; returns the exit status."""
        status = self.process.wait(timeout=200)
        self._thread.join()
        self.channels.close()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status


@pytest.fixture(scope="module")
def group(checkpoints: Path) -> Iterator[Group]:
    """Ended by SIGTERM, as it should end: with all its workers, its files, and status 0."""
    group = Group(checkpoints)
    pids = [p.pid for p in psutil.Process(group.process.pid).children(recursive=True)]
    assert set(pids) == set(group.pids.values())
    directory = Path(psutil.Process(pids[0]).environ()["PROMETHEUS_MULTIPROC_DIR"])
    assert directory.is_dir()
    yield group
    group.process.send_signal(signal.SIGTERM)
    assert group.wait() == 0
    assert not any(map(psutil.pid_exists, group.pids.values()))
    assert not directory.exists()


def test_two_workers_answer_on_one_port_and_one_page_sums_them(group, digits):
    before = value(metrics_page(group), "grpc_server_started_total")

    _, calls = group.channel_to_each(digits[0])

    settled_calls(group)
    page = metrics_page(group)
    assert value(page, "grpc_server_started_total") == before + calls
    assert value(page, "kompakt_model_info", model="tiny-ae") == 1
    assert value(page, "kompakt_build_info") == 1
    assert value(page, "kompakt_workers") == 2
    for process in ("0", "1", "supervisor"):
        assert value(page, "process_resident_memory_bytes", worker=process) > 1e6
    assert "pid=" not in page


def test_the_page_tells_of_a_call_that_is_still_open(group, digits):
    gate = threading.Event()

    def requests():
        yield pb.StreamCompressRequest(options=pb.CompressOptions(), images=[raw(digits[0])])
        gate.wait(60)

    def pending():
        return value(metrics_page(group), "kompakt_pending_calls", kind="stream")

    before = settled_calls(group)
    with grpc.insecure_channel(f"127.0.0.1:{group.port}") as channel:
        answers = pb_grpc.CompressionServiceStub(channel).StreamCompress(requests())
        next(answers)
        assert eventually(lambda: pending() == 1)
        sent = value(metrics_page(group), "grpc_server_msg_sent_total", grpc_type="bidi_stream")
        assert sent == 1
        gate.set()
        assert not list(answers)
    assert eventually(lambda: pending() == 0)
    assert settled_calls(group) == before + 1


def test_only_the_workers_load_pytorch(group):
    def has_pytorch(pid):
        return any("libtorch" in part.path for part in psutil.Process(pid).memory_maps())

    assert all(map(has_pytorch, group.pids.values()))
    assert not has_pytorch(group.process.pid)


def settled_calls(group):
    """How many calls have ended well; the last is counted after its answer is sent."""
    count, seen = -1.0, -2.0
    while count != seen:
        time.sleep(0.1)
        seen, count = count, value(metrics_page(group), "grpc_server_handled_total", grpc_code="OK")
    return count


def test_a_killed_worker_is_replaced_while_the_other_goes_on(group, digits):
    channels, _ = group.channel_to_each(digits[0])
    before = settled_calls(group)
    since = group.count()

    os.kill(group.pids[0], signal.SIGKILL)
    group.wait_for("worker lost", worker=0, reason="it ended with signal SIGKILL")
    calls = 0
    while group.find("worker serving", since, worker=0) is None:
        assert group.compress(channels[1], digits[0]) == 1
        calls += 1

    assert calls > 1
    group.pids[0] = group.wait_for("worker serving", since, worker=0)["pid"]
    _, more = group.channel_to_each(digits[0])
    assert settled_calls(group) == before + calls + more
    page = metrics_page(group)
    assert value(page, "kompakt_worker_deaths_total") == 1
    assert value(page, "kompakt_workers") == 2


def test_a_signal_drains_every_worker_and_a_second_cuts_it_short(checkpoints, digits):
    group = Group(checkpoints, "--drain-seconds", "600")
    channels, _ = group.channel_to_each(digits[0])
    watches = [
        health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        for channel in channels.values()
    ]
    for watch in watches:
        next(watch)

    group.process.send_signal(signal.SIGTERM)

    for watch in watches:
        assert next(watch).status == NOT_SERVING
        watch.cancel()
    for number, channel in channels.items():
        assert group.compress(channel, digits[0]) == number
    group.process.send_signal(signal.SIGTERM)
    assert group.wait() == 0
    assert not any(map(psutil.pid_exists, group.pids.values()))


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


def settings_for(checkpoints: Path, **settings: Any) -> Settings:
    return load_settings({**LOOPBACK, "models": checkpoints, "workers": 2} | settings)


def run_and_fail(checkpoints: Path, *flags: str) -> str:
    process = start_process(checkpoints, "--workers", "2", "--device", "cpu", *flags)
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 1
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
