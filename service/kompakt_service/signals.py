"""The signals that end a server, to be waited for beside pipes."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

_ENDING = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Those that have come and are not yet taken: a byte each in the pipe that ``reader`` ends."""

    def __init__(self, reader: int) -> None:
        self.reader = reader

    def take(self, seconds: float | None = None) -> int | None:
        """Return the number of the next; wait so long for it, then return None."""
        return os.read(self.reader, 1)[0] if wait([self.reader], seconds) else None


@contextmanager
def caught_signals() -> Iterator[Signals]:
    """Catch every SIGTERM and SIGINT, in the main thread.

    The interpreter's own handler writes them to a pipe. One in Python runs between any two steps
    of the main thread: it could need a lock which that holds, as that of a threading.Event which
    it is about to wait for, or come too late for a wait that has just begun.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    woken = signal.set_wakeup_fd(writer)
    previous = {number: signal.signal(number, lambda *_: None) for number in _ENDING}
    try:
        yield Signals(reader)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        os.close(reader)
        os.close(writer)
