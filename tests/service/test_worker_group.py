"""How a group takes what befalls its workers, with stand-ins for their processes."""

import multiprocessing
import signal

import pytest

from kompakt_service import worker_group
from kompakt_service.group_metrics import GroupMetrics
from kompakt_service.orders import DRAIN, LOADED, SERVE, SERVING, STOP
from kompakt_service.ports import StartError
from kompakt_service.signals import caught_signals
from kompakt_service.worker_group import WorkerGroup


class StandIn:
    """A worker as the group has it; ``theirs`` is its own end of the pipe."""

    pid = 1
    failure = ""
    seconds_served = 0.0
    status = 1

    def __init__(self, number):
        self.number = number
        self.state = ""
        self.sent = []
        self.killed = False
        self.pipe, self.theirs = multiprocessing.Pipe()

    def send(self, order):
        self.sent.append(order)
        if order == SERVE and not self.theirs.closed:
            self.theirs.send((SERVING,))
        if order == STOP:
            self.status = 0
            self.theirs.close()

    def mark_serving(self):
        self.seconds_served = 1.0

    def kill(self):
        self.killed = True
        self.theirs.close()

    def end(self):
        self.pipe.close()
        return self.status


@pytest.fixture
def signals():
    with caught_signals() as signals:
        yield signals


@pytest.fixture
def launched():
    """The workers that a group of the fixture ``group`` has started."""
    return []


@pytest.fixture
def group(signals, launched, tmp_path):
    """Two workers that take calls."""

    def launch(number):
        launched.append(StandIn(number))
        launched[-1].theirs.send((LOADED, ["m"]))
        return launched[-1]

    group = WorkerGroup(2, launch, signals=signals, metrics=GroupMetrics(tmp_path))
    assert group.start() is None
    yield group
    group.kill()


def test_a_worker_that_dies_for_hours_costs_the_others_nothing(group, launched, monkeypatch):
    monkeypatch.setattr(worker_group, "_MAX_PAUSE_SECONDS", 0.0)
    launch = group._launch

    def launch_dying(number):
        if len(launched) == 1200:
            signal.raise_signal(signal.SIGTERM)
        worker = launch(number)
        worker.theirs.close()
        return worker

    monkeypatch.setattr(group, "_launch", launch_dying)
    launched[1].theirs.close()

    assert group.watch() == signal.SIGTERM
    assert {worker.number for worker in launched[2:]} == {1}
    assert not launched[0].killed


def test_a_process_that_cannot_be_started_is_tried_again(group, launched, monkeypatch, caplog):
    monkeypatch.setattr(worker_group, "_MAX_PAUSE_SECONDS", 0.01)
    launch, failures = group._launch, [OSError(12, "no memory"), OSError(11, "no process")]

    def launch_later(number):
        if failures:
            raise failures.pop(0)
        signal.raise_signal(signal.SIGTERM)
        return launch(number)

    monkeypatch.setattr(group, "_launch", launch_later)
    launched[1].theirs.close()

    assert group.watch() == signal.SIGTERM
    assert [worker.number for worker in launched] == [0, 1, 1]
    reasons = [record.reason for record in caplog.records if record.message == "worker lost"]
    assert reasons == ["it ended with status 1", "[Errno 12] no memory", "[Errno 11] no process"]


def test_a_process_that_cannot_be_started_at_first_ends_the_start(signals, tmp_path):
    def launch(_):
        raise OSError(12, "no memory")

    group = WorkerGroup(2, launch, signals=signals, metrics=GroupMetrics(tmp_path))
    with pytest.raises(StartError, match=r"worker 0 cannot start: \[Errno 12\] no memory"):
        group.start()


def test_workers_that_have_just_begun_to_serve_are_not_killed(signals, tmp_path):
    workers = []

    class Interrupted(StandIn):
        def send(self, order):
            super().send(order)
            if order == SERVE and self.number == 1:
                signal.raise_signal(signal.SIGTERM)

    def launch(number):
        workers.append(Interrupted(number))
        workers[-1].theirs.send((LOADED, ["m"]))
        return workers[-1]

    group = WorkerGroup(2, launch, signals=signals, metrics=GroupMetrics(tmp_path))
    assert group.start() == signal.SIGTERM
    assert group.stop(signal.SIGTERM, drain_seconds=5, grace_seconds=5) == 0

    assert [worker.sent for worker in workers] == 2 * [[SERVE, DRAIN, STOP]]
    assert not any(worker.killed for worker in workers)


def test_signals_without_a_name_are_told_by_number():
    assert worker_group._described(-signal.SIGKILL) == "signal SIGKILL"
    assert worker_group._described(-35) == "signal 35"
