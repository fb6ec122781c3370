"""The workers of one port as a whole: when each is started, replaced and stopped."""

import logging
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import wait

from kompakt_service.group_metrics import GroupMetrics
from kompakt_service.orders import DRAIN, FAILED, HURRY, LOADED, SERVE, SERVING, STOP
from kompakt_service.ports import StartError
from kompakt_service.signals import Signals
from kompakt_service.worker_process import WorkerProcess

_LOGGER = logging.getLogger(__name__)

_SETTLED_SECONDS = 60.0
"""A worker that served for less is replaced after a pause, a longer one each time."""
_MAX_PAUSE_SECONDS = 30.0
_MAX_FAILURES = 5
"""So many of these in a row of each worker, and the group gives up."""
_MARGIN_SECONDS = 20.0
"""What a worker gets beyond the grace to end, before it is killed."""


class WorkerGroup:
    """``count`` workers that ``launch`` starts; ``signals`` gives the numbers of those caught."""

    def __init__(
        self,
        count: int,
        launch: Callable[[int], WorkerProcess],
        *,
        signals: Signals,
        metrics: GroupMetrics,
    ) -> None:
        self.models: list[str] = []
        self._launch = launch
        self._signals = signals
        self._metrics = metrics
        self._workers: dict[int, WorkerProcess] = {}
        self._failures = dict.fromkeys(range(count), 0)
        self._due: dict[int, float] = {}
        """When to replace the dead, on time.monotonic's clock."""
        self._is_up = False
        self._is_stopping = False
        self._has_failed = False

    def start(self) -> int | None:
        """Start all, and let them take calls when the last has loaded its models.

        Returns the number of a signal that came before that, else None. Raises StartError if one
        ends instead.
        """
        for number in self._failures:
            try:
                self._add(number)
            except OSError as exc:
                raise StartError(f"worker {number} cannot start: {exc}") from exc
        for state in (LOADED, SERVING):
            while any(worker.state != state for worker in self._workers.values()):
                if (caught := self._step()) is not None:
                    return caught
            if state == LOADED:
                self._broadcast(SERVE)
        self._is_up = True
        return None

    def watch(self) -> int:
        """Replace what ends until a signal comes; returns its number.

        Raises StartError if no worker serves any more and new ones keep ending.
        """
        while True:
            pause = max(0.0, min(self._due.values()) - time.monotonic()) if self._due else None
            if (caught := self._step(pause)) is not None:
                return caught
            for number in [n for n, due in self._due.items() if due <= time.monotonic()]:
                del self._due[number]
                try:
                    self._add(number)
                except OSError as exc:  # too little memory, or too many processes, just now
                    self._schedule(number, str(exc))

    def stop(self, first: int, *, drain_seconds: float, grace_seconds: float) -> int:
        """Drain and stop on the signal ``first``; a second one cuts the waiting short.

        Returns the exit status: 0 if every worker ended by itself.
        """
        self._is_stopping = True
        self._hear_last_words()
        self._kill(lambda worker: worker.state != SERVING)  # it has accepted nothing
        self._broadcast(DRAIN)
        second = None
        if first == signal.SIGTERM:
            second = self._step_for(drain_seconds)
        self._broadcast(STOP)
        if second is None:
            second = self._step_for(grace_seconds + _MARGIN_SECONDS)
        if second is not None:
            self._broadcast(HURRY)
            self._step_for(_MARGIN_SECONDS)
        self.kill()
        return int(self._has_failed)

    def kill(self) -> None:
        """End whatever still runs, at once."""
        self._is_stopping = True
        self._kill(lambda _: True)
        while self._workers:
            self._step()

    def _kill(self, is_meant: Callable[[WorkerProcess], bool]) -> None:
        for worker in filter(is_meant, self._workers.values()):
            worker.kill()

    def _add(self, number: int) -> None:
        worker = self._workers[number] = self._launch(number)
        self._metrics.add(number, worker.pid)

    def _broadcast(self, order: str) -> None:
        for worker in self._workers.values():
            worker.send(order)

    def _step_for(self, seconds: float) -> int | None:
        """Go on for so long, until a signal comes, or until all have ended."""
        deadline = time.monotonic() + seconds
        while self._workers and (left := deadline - time.monotonic()) > 0:
            if (caught := self._step(left)) is not None:
                return caught
        return None

    def _step(self, seconds: float | None = None) -> int | None:
        """Wait so long for news and take them; returns the number of a signal if one came."""
        workers = list(self._workers.values())
        ready = wait([self._signals.reader, *(worker.pipe for worker in workers)], seconds)
        if self._signals.reader in ready:
            return self._signals.take()
        for worker in workers:
            if worker.pipe in ready:
                self._hear(worker)
        return None

    def _hear(self, worker: WorkerProcess) -> None:
        try:
            word, *rest = worker.pipe.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if self._is_stopping:  # too late for one that has just become ready
            return
        if word == FAILED:
            worker.failure = rest[0]
            return
        worker.state = word
        if word == LOADED:
            self.models = rest[0]
            if self._is_up:
                worker.send(SERVE)
        else:
            self._note_serving(worker)

    def _hear_last_words(self) -> None:
        """See which workers take calls by now, whatever else they and signals have to tell."""
        for worker in self._workers.values():
            try:
                while worker.pipe.poll():
                    if worker.pipe.recv()[0] == SERVING:
                        self._note_serving(worker)
            except (EOFError, OSError):  # it is buried in its turn
                continue

    def _note_serving(self, worker: WorkerProcess) -> None:
        worker.state = SERVING
        worker.mark_serving()
        self._metrics.serving.inc()
        _LOGGER.info("worker serving", extra={"worker": worker.number, "pid": worker.pid})

    def _bury(self, worker: WorkerProcess) -> None:
        status = worker.end()
        del self._workers[worker.number]
        self._metrics.remove(worker.number)
        if worker.state == SERVING:
            self._metrics.serving.dec()
        if self._is_stopping:
            self._has_failed |= worker.state == SERVING and status != 0
            return
        why = worker.failure or f"it ended with {_described(status)}"
        if not self._is_up and worker.state != SERVING:
            raise StartError(worker.failure or f"worker {worker.number} cannot start: {why}")
        self._metrics.deaths.inc()
        settled = worker.seconds_served >= _SETTLED_SECONDS
        self._schedule(worker.number, why, settled=settled, pid=worker.pid)

    def _schedule(
        self, number: int, why: str, *, settled: bool = False, pid: int | None = None
    ) -> None:
        """Have a worker started, after a pause if that failed before."""
        failures = self._failures[number] = 0 if settled else self._failures[number] + 1
        if not self._workers and min(self._failures.values()) >= _MAX_FAILURES:
            raise StartError(f"no worker stays alive; of the last one: {why}")
        pause = 2.0 ** min(failures - 1, _MAX_FAILURES) if failures else 0.0
        pause = min(_MAX_PAUSE_SECONDS, pause)
        self._due[number] = time.monotonic() + pause
        extra = {"worker": number, "pid": pid, "reason": why, "replaced_in_s": pause}
        _LOGGER.error("worker lost", extra=extra)


def _described(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    names = {known.value: known.name for known in signal.Signals}  # most real-time ones have none
    return f"signal {names.get(-status, -status)}"
