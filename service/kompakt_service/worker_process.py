"""A worker as its supervisor has it: a process and a pipe."""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

COMMAND = (sys.executable, "-P", "-m", "kompakt_service.worker")
"""Without -P the directory where the server was started would come first when a worker imports."""
_END_SECONDS = 10.0
"""From the end of the pipe to that of the process."""


class WorkerProcess:
    """Starts a worker, or raises OSError. Its pipe ends when it does."""

    def __init__(
        self,
        number: int,
        settings: Mapping[str, Any],
        environment: Mapping[str, str],
        *,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.number = number
        self.state = ""
        """The last word from it: LOADED, then SERVING."""
        self.failure = ""
        """Why it cannot start, if it said so."""
        self._serving_since: float | None = None
        self.pipe, theirs = multiprocessing.Pipe()
        with theirs:
            # A group of its own, or Ctrl-C would reach it past the supervisor.
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=environment,
                process_group=0,
            )
        self.send((number, dict(settings)))

    @property
    def pid(self) -> int:
        """The process number."""
        return self._process.pid

    @property
    def seconds_served(self) -> float:
        """For how long it has taken calls; 0 if it never did."""
        return time.monotonic() - self._serving_since if self._serving_since is not None else 0.0

    def send(self, order: object) -> None:
        """Send an order; one that has ended will not miss it."""
        try:
            self.pipe.send(order)
        except OSError:
            return

    def mark_serving(self) -> None:
        """Note that it takes calls from now on."""
        self._serving_since = time.monotonic()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def end(self) -> int:
        """Wait for it, since its pipe has ended. Returns the exit status, or minus the signal."""
        self.pipe.close()
        try:
            return self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()
