"""The threads that calls run on: in turn for every caller, and refused at once when too many wait.

A caller is whoever the metadata key ``kompakt-caller`` names, else the peer's host and port.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent import futures
from queue import SimpleQueue
from typing import Any, cast

from kompakt_service.errors import CallError, queue_full
from kompakt_service.fairness import FairQueue
from kompakt_service.load import CAUTION

_LOGGER = logging.getLogger(__name__)

CALLER_KEY = "kompakt-caller"
_WEIGHT = 1 / 128
"""Of one call in the time that calls take."""
_LONG = 1 / 16
"""Of the longest wait: a call that takes more counts as that much. Whether large calls fit into the
time is for the lanes to say, who know their size."""


class _Current(threading.local):
    caller = ""
    refusal: CallError | None = None


CURRENT = _Current()
"""What the behaviour of a call that runs in this thread is to know: its caller, and that it is
refused, if it is."""


class _Task:
    """A call, in the part of a future that grpcio uses."""

    key = None

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], caller: str) -> None:
        self.caller = caller
        self._fn = fn
        self._args = args
        self._callbacks: deque[Callable[[Any], Any]] = deque()
        self._done = False

    def run(self) -> None:
        """Run the call, which handles its own errors."""
        self._fn(*self._args)
        self._done = True
        self._call_back()

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        """Have a function called when the call is over."""
        self._callbacks.append(callback)
        if self._done:
            self._call_back()

    def _call_back(self) -> None:
        """Once each, whichever thread is the first."""
        while True:
            try:
                callback = self._callbacks.popleft()
            except IndexError:
                return
            callback(self)


class CallPool(futures.ThreadPoolExecutor):
    """A pool of threads for grpcio's calls.

    A caller that has no thread gets one even if ``threads`` are taken, as long as there are not
    twice as many. ``max_wait_seconds`` bounds how long a call may be expected to take, by the
    measured rate at which calls end. With ``share`` a caller may have no more of ``max_pending``
    than are still free: one alone has half, and another always finds room (Choudhury & Hahne 1998).
    """

    def __init__(
        self,
        threads: int,
        *,
        max_pending: int,
        max_wait_seconds: float,
        share: bool,
        name: str,
        on_idle: Callable[[], None],
    ) -> None:
        super().__init__(2 * threads, thread_name_prefix=name)
        self._pending = 0
        self._num_threads = threads
        self._max_pending = max_pending
        self._max_wait_seconds = CAUTION * max_wait_seconds
        self._share = share
        self._on_idle = on_idle
        self._waiting: FairQueue[_Task] = FairQueue()
        self._pending_of: dict[str, int] = {}
        self._running_of: dict[str, int] = {}
        self._running = 0
        self._call_seconds = 0.0
        self._last_end = 0.0
        self._mutex = threading.Lock()
        # Tasks whose turn has come; there are never more than threads for them.
        self._due: SimpleQueue[_Task | None] = SimpleQueue()
        self._workers: list[threading.Thread] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_: Any) -> futures.Future[Any]:
        """Run a call when it is its caller's turn, or refuse it at once, in this thread.

        A call that is refused is run with ``CURRENT.refusal`` set.
        """
        task = _Task(fn, args, _caller_of(args))
        with self._mutex:
            refusal = self._refusal(task.caller)
            if refusal is None:
                self._accept(task)
                due, running = self._next(), self._running
        if refusal is not None:
            _refuse(task, refusal)
        elif due is not None:
            self._start(due, running)
        return cast("futures.Future[Any]", task)

    def num_pending(self) -> int:
        """Calls accepted and not yet answered."""
        return self._pending

    def is_crowded(self) -> bool:
        """Whether calls wait for a thread."""
        return self._pending > self._running

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end when they are free."""
        del cancel_futures
        for _ in self._workers:
            self._due.put(None)
        for worker in self._workers if wait else ():
            worker.join()

    def _accept(self, task: _Task) -> None:
        if not self._pending:
            self._last_end = time.monotonic()
        self._pending += 1
        self._pending_of[task.caller] = self._pending_of.get(task.caller, 0) + 1
        self._waiting.put(task)

    def _refusal(self, caller: str) -> CallError | None:
        own = self._pending_of.get(caller, 0)
        free = self._max_pending - self._pending
        # Callers have turns: one with little to do does not wait for all that others have.
        ahead = min(self._pending, self._running + (own + 1) * len(self._pending_of))
        wait = ahead * self._call_seconds
        if free <= (own if self._share else 0):
            return queue_full("the server has as many calls as it can take", wait)
        if self._pending >= self._num_threads and wait > self._max_wait_seconds:
            return queue_full("the server has as many calls as it can take", wait)
        return None

    def _next(self) -> _Task | None:
        """The next task to run, if there is a thread for it. Called with the mutex."""
        if self._running < self._num_threads:
            task = self._waiting.pop()
        elif self._running < 2 * self._num_threads:
            task = self._waiting.pop(lambda caller: caller not in self._running_of)
        else:
            return None
        if task is not None:
            self._running += 1
            self._running_of[task.caller] = self._running_of.get(task.caller, 0) + 1
        return task

    def _start(self, task: _Task, running: int) -> None:
        """Give a task to a thread, one of so many; called by grpcio's one thread alone."""
        self._due.put(task)
        if len(self._workers) < running:
            worker = threading.Thread(target=self._work, daemon=True)
            worker.name = f"{self._thread_name_prefix}-{len(self._workers)}"
            try:
                worker.start()
            except RuntimeError as exc:  # it would end grpcio's thread, and so every call
                _LOGGER.error("no thread for another call", extra={"reason": str(exc)})
            else:
                self._workers.append(worker)

    def _work(self) -> None:
        task = self._due.get()
        while task is not None:
            CURRENT.caller = task.caller
            task.run()
            task = self._end(task.caller)
            if task is None:  # nor does anything hold the last one, and what it refers to
                if not self._pending:
                    self._on_idle()
                task = self._due.get()

    def _end(self, caller: str) -> _Task | None:
        """Count a call that is over; the next that this thread is to run."""
        with self._mutex:
            now = time.monotonic()
            took = min(now - self._last_end, _LONG * self._max_wait_seconds)
            self._call_seconds += _WEIGHT * (took - self._call_seconds)
            self._last_end = now
            self._pending -= 1
            self._running -= 1
            for counts in (self._pending_of, self._running_of):
                counts[caller] -= 1
                if not counts[caller]:
                    del counts[caller]
            return self._next()


def refused(
    fn: Callable[..., Any], args: tuple[Any, ...], refusal: CallError
) -> futures.Future[Any]:
    """Run a call that a pool does not take, in this thread, with ``CURRENT.refusal`` set."""
    task = _Task(fn, args, "")
    _refuse(task, refusal)
    return cast("futures.Future[Any]", task)


def _caller_of(args: tuple[Any, ...]) -> str:
    """The caller of the call that grpcio submits: of its event, which it tells no interceptor."""
    for event in args:
        if hasattr(event, "invocation_metadata"):
            for key, value in event.invocation_metadata:
                if key == CALLER_KEY:
                    return str(value)
            return str(event.call.peer())
    return ""


def _refuse(task: _Task, refusal: CallError) -> None:
    CURRENT.refusal = refusal
    try:
        task.run()
    finally:
        CURRENT.refusal = None
