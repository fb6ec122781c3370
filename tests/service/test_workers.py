"""``kompakt serve --workers``: several processes on one port."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from tests.service.live import eventually
from tests.service.support import metrics_page, raw, value
from tests.service.test_command import started

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Group:
    """A supervisor with two workers, and what they log."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.channels = ExitStack()
        self.calls = 0
        """How many have been answered."""
        self._records: list[dict[str, Any]] = []
        self._heard = threading.Condition()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def await_start(self) -> None:
        serving = self.wait_for("serving")
        self.port, self.metrics_port = serving["port"], serving["metrics_port"]
        self.pids = {n: self.wait_for("worker serving", worker=n)["pid"] for n in (0, 1)}

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
        self.calls += 1
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

    def counts_all(self) -> bool:
        """Whether the page comes to tell of all calls: they are counted after they are answered."""

        def told() -> float:
            return value(metrics_page(self), "grpc_server_handled_total", grpc_code="OK")

        return eventually(lambda: told() >= self.calls) and told() == self.calls

    def stop(self) -> int:
        """End it by SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=200)

    def close(self) -> None:
        self.process.kill()
        self._thread.join()  # workers that still run hold the pipe until they see that it is gone
        self.channels.close()


@contextmanager
def running_group(checkpoints: Path, *flags: str) -> Iterator[Group]:
    """A group that does not outlive the block."""
    ours = ["--workers", "2", "--port", "0", "--metrics-port", "0", "--device", "cpu"]
    logs = ["--log-level", "debug", "--log-format", "json"]
    with started(checkpoints, *ours, *logs, *flags) as process:
        group = Group(process)
        try:
            group.await_start()
            yield group
        finally:
            group.close()


@pytest.fixture(scope="module")
def group(checkpoints: Path) -> Iterator[Group]:
    """Ended by SIGTERM, as it should end: with all its workers, its files, and status 0."""
    with running_group(checkpoints) as group:
        pids = [p.pid for p in psutil.Process(group.process.pid).children(recursive=True)]
        assert set(pids) == set(group.pids.values())
        directory = Path(psutil.Process(pids[0]).environ()["PROMETHEUS_MULTIPROC_DIR"])
        assert directory.is_dir()
        yield group
        assert group.stop() == 0
    assert not any(map(psutil.pid_exists, group.pids.values()))
    assert not directory.exists()


def test_two_workers_answer_on_one_port_and_one_page_sums_them(group, digits):
    group.channel_to_each(digits[0])

    assert group.counts_all()
    page = metrics_page(group)
    assert value(page, "grpc_server_started_total") == group.calls
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

    with grpc.insecure_channel(f"127.0.0.1:{group.port}") as channel:
        answers = pb_grpc.CompressionServiceStub(channel).StreamCompress(requests())
        next(answers)
        assert eventually(lambda: pending() == 1)
        sent = value(metrics_page(group), "grpc_server_msg_sent_total", grpc_type="bidi_stream")
        assert sent == 1
        gate.set()
        assert not list(answers)
    group.calls += 1
    assert eventually(lambda: pending() == 0)
    assert group.counts_all()


def test_only_the_workers_load_pytorch(group):
    def has_pytorch(pid):
        return any("libtorch" in part.path for part in psutil.Process(pid).memory_maps())

    assert all(map(has_pytorch, group.pids.values()))
    assert not has_pytorch(group.process.pid)


def test_a_killed_worker_is_replaced_while_the_other_goes_on(group, digits):
    channels, _ = group.channel_to_each(digits[0])
    assert group.counts_all()  # what a killed worker has not counted is lost
    since = group.count()

    os.kill(group.pids[0], signal.SIGKILL)
    group.wait_for("worker lost", worker=0, reason="it ended with signal SIGKILL")
    before = group.calls
    while group.find("worker serving", since, worker=0) is None:
        assert group.compress(channels[1], digits[0]) == 1

    assert group.calls > before + 1
    group.pids[0] = group.wait_for("worker serving", since, worker=0)["pid"]
    group.channel_to_each(digits[0])
    assert group.counts_all()
    page = metrics_page(group)
    assert value(page, "kompakt_worker_deaths_total") == 1
    assert value(page, "kompakt_workers") == 2


def test_a_signal_drains_every_worker_and_a_second_cuts_it_short(checkpoints, digits):
    with running_group(checkpoints, "--drain-seconds", "600") as group:
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
        assert group.stop() == 0
        assert not any(map(psutil.pid_exists, group.pids.values()))
