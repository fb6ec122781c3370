"""``kompakt serve --workers``: several processes on one port."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
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
from tests.service.test_command import start_process

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
