"""Child processes: on cores of their own, waited for, and ended with all that they started."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psutil

ROOT = Path(__file__).parent.parent
# One core each is what is compared; without a word of it, libraries start a thread for every core.
ONE_THREAD = {"KOMPAKT_TORCH_THREADS": "1", "OMP_NUM_THREADS": "1"}
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_LINES_OF_LOG = 3
_PATIENCE_SECONDS = 8


class BenchmarkError(Exception):
    """Something could not be measured; the message says why."""


@contextmanager
def pinned(cores: Iterable[int]) -> Iterator[None]:
    """Let children started meanwhile run on these cores only."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


class _Ending:
    """Ends this process by an exception once a signal has come, but not around a fork.

    What Python calls there ignores exceptions.
    """

    def __init__(self) -> None:
        self._number = 0
        self._is_held = False

    def take(self, number: int, _: object) -> None:
        """Handle a signal."""
        self._number = number
        if not self._is_held:
            sys.exit(128 + number)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Until the end of the block."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._number:
            sys.exit(128 + self._number)


_ENDING = _Ending()


def end_on_sigterm() -> None:
    """Let SIGTERM end this process by an exception, so that its servers end too."""
    signal.signal(signal.SIGTERM, _ENDING.take)


def _started(command: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
    """A child that Linux kills once this process is gone, by whatever."""
    child = None
    try:
        with _ENDING.held():
            child = subprocess.Popen(command, cwd=ROOT, preexec_fn=_end_with_parent, **options)
    except SystemExit:  # of a signal that came meanwhile
        if child is not None:
            child.kill()
            child.wait()
        raise
    return child


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def module(name: str, *arguments: object, python: Path | str = sys.executable) -> list[str]:
    """The command that runs a module of this repository."""
    return [str(python), "-m", f"benchmarks.{name}", *map(str, arguments)]


def run_for_json(
    command: Sequence[str],
    cores: Iterable[int],
    *,
    timeout: float = 120,
    environment: Mapping[str, str] | None = None,
) -> Any:
    """Run a command to its end. Returns its last line as JSON; raises BenchmarkError."""
    with pinned(cores):
        process = _started(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    with process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException as exc:  # an interrupt too
            process.kill()
            if isinstance(exc, subprocess.TimeoutExpired):
                raise BenchmarkError(f"{_name(command)} took over {timeout:.0f} s") from None
            raise
    if process.returncode:
        raise BenchmarkError(f"{_name(command)}: {_tail(err)}")
    return json.loads(out.splitlines()[-1])


class Background:
    """A process that serves until the end of the block, and then ends with its children."""

    def __init__(
        self,
        command: Sequence[str],
        cores: Iterable[int],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._log = log
        with pinned(cores), log.open("w") as file:
            self._process = _started(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**_without_settings(os.environ), **(environment or {})},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def stop(self) -> None:
        """End it, by force if it does not follow, and what it leaves behind."""
        family = self._family()
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, 5)

    def wait_until(self, is_ready: Callable[[], bool], seconds: float = 90) -> None:
        """Wait for it to serve. Raises BenchmarkError if it ends or takes too long."""
        end = time.monotonic() + seconds
        while not is_ready():
            if self._process.poll() is not None:
                raise self._failure("ended")
            if time.monotonic() > end:
                raise self._failure(f"was not ready in {seconds:.0f} s")
            time.sleep(0.1)

    def resident_mib(self) -> float:
        """Resident memory of it and its children."""
        return float(sum(process.memory_info().rss for process in self._family())) / 2**20

    def _failure(self, what: str) -> BenchmarkError:
        return BenchmarkError(f"{_name(self._command)} {what}: {_tail(self._log.read_text())}")

    def _family(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self._process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what it says of another server."""
    return {k: v for k, v in environment.items() if not k.startswith("KOMPAKT_")}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts_connections(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _name(command: Sequence[str]) -> str:
    return command[command.index("-m") + 1] if "-m" in command else Path(command[0]).name


def _tail(text: str) -> str:
    return " / ".join(text.strip().splitlines()[-_LINES_OF_LOG:]) or "it said nothing"
