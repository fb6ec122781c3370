"""How long a call may hold a thread before its message has come."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

MESSAGE_SECONDS = 30.0


class Patience:
    """Cancels calls that keep a thread waiting for their message, while others wait for a thread.

    Callers that never send it, or slowly, thus take nothing from others.
    """

    def __init__(self, is_crowded: Callable[[], bool], *, seconds: float = MESSAGE_SECONDS) -> None:
        self._is_crowded = is_crowded
        self._seconds = seconds
        self._numbers = itertools.count()
        self._waiting: dict[int, tuple[float, grpc.ServicerContext]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def waiting(self, context: grpc.ServicerContext) -> Iterator[None]:
        """While the block runs, a call waits for its message."""
        if self._thread is None:
            self._start()
        number = next(self._numbers)
        self._waiting[number] = time.monotonic() + self._seconds, context
        try:
            yield
        finally:
            self._waiting.pop(number, None)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="patience", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while True:
            time.sleep(self._seconds / 10)
            if not self._is_crowded():
                continue
            now = time.monotonic()
            # A list of the items could be interrupted by threads that add some.
            for number, (until, context) in self._waiting.copy().items():
                if now > until and self._waiting.pop(number, None) is not None:
                    context.cancel()
