"""Where the registry of models is kept: in one process, or in a file that several follow."""

import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from pydantic import ValidationError

from kompakt_codec.errors import CheckpointError
from kompakt_service.call import Call
from kompakt_service.errors import CallError
from kompakt_service.registry import Registry

POLL_SECONDS = 0.2
_WAIT_SECONDS = 0.02
_MOST_SECONDS = 60.0
_RECORD_BYTES = 1024


class State(Protocol):
    """The registry, and the other processes that keep to it."""

    def exclusive(self, call: Call) -> AbstractContextManager[object]:
        """Keep every other change, in any process, waiting.

        Raises CallError if the call is over, or this process stops, before it is its turn.
        """

    def join(self) -> None:
        """Be one of the processes that changes wait for. Only within ``exclusive``."""

    def read(self) -> Registry | None:
        """The registry; None if none was written. Raises CheckpointError."""

    def write(self, registry: Registry) -> None:
        """Put a registry in the place of the last."""

    def follow(self, apply: Callable[[], None]) -> None:
        """Call this whenever the registry was written, from a thread of its own."""

    def report(self, revision: int, failure: str = "") -> None:
        """Tell the others that this process is at a revision, or why it cannot be."""

    def await_others(self, revision: int, call: Call) -> None:
        """Wait until every process is at a revision.

        Raises CheckpointError if one cannot be, and CallError.
        """

    def close(self) -> None:
        """Follow no more."""


class PrivateState:
    """The state of a server of one process; it ends with it."""

    def __init__(self) -> None:
        self._registry: Registry | None = None
        self._change = threading.Lock()

    @contextmanager
    def exclusive(self, call: Call) -> Iterator[None]:
        """Keep other threads' changes waiting: not for long, since none waits for a process."""
        with self._change:
            call.check()
            yield

    def join(self) -> None:
        """There are no others."""

    def read(self) -> Registry | None:
        """The registry."""
        return self._registry

    def write(self, registry: Registry) -> None:
        """Keep a registry."""
        self._registry = registry

    def follow(self, apply: Callable[[], None]) -> None:
        """Nobody else writes."""

    def report(self, revision: int, failure: str = "") -> None:
        """Nobody else asks."""

    def await_others(self, revision: int, call: Call) -> None:
        """There are no others."""

    def close(self) -> None:
        """Nobody was followed."""


@dataclass(frozen=True, slots=True)
class _Record:
    revision: int
    failure: str


class SharedState:
    """The state in a JSON file. Every process of a server reads it, and one at a time writes it.

    Beside the file lie FILE.lock and the directory FILE.workers, with a record for each process
    that follows: locked as long as the process lives, whatever ends it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock_path = path.with_name(f"{path.name}.lock")
        self._workers = path.with_name(f"{path.name}.workers")
        self._workers.mkdir(parents=True, exist_ok=True)
        self._record: int | None = None
        self._reporting = threading.Lock()
        """Held while the record is written to, and while it is closed."""
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def exclusive(self, call: Call) -> Iterator[None]:
        """Keep every other change, in any process, waiting. See ``State``."""
        with self._lock_path.open("w") as file:
            self._await_turn(file, call)
            yield

    def join(self) -> None:
        """Begin a record."""
        self._record = self._open_record()

    def read(self) -> Registry | None:
        """The registry; None if there is no file. Raises CheckpointError if it is malformed."""
        try:
            return Registry.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as exc:
            raise CheckpointError(
                f"{self._path}: not a state of models ({exc.error_count()} errors): "
                "remove it to begin again with the directory of models"
            ) from exc

    def write(self, registry: Registry) -> None:
        """Write the file, whole or not at all. Only within ``exclusive``."""
        partial = self._path.with_name(f"{self._path.name}.partial")
        partial.write_text(registry.model_dump_json(indent=1) + "\n")
        partial.replace(self._path)

    def follow(self, apply: Callable[[], None]) -> None:
        """Look for a new file every 0.2 s."""
        self._thread = threading.Thread(
            target=self._watch, args=(apply,), name="model-state", daemon=True
        )
        self._thread.start()

    def _watch(self, apply: Callable[[], None]) -> None:
        seen = None
        while not self._closed.wait(POLL_SECONDS):
            try:
                status = self._path.stat()
            except OSError:  # mostly it is gone: what is loaded goes on; the next change writes it
                continue
            if (stamp := (status.st_ino, status.st_mtime_ns)) != seen:
                apply()
                seen = stamp

    def report(self, revision: int, failure: str = "") -> None:
        """Write this process's record; after ``close`` there is none any more."""
        text = _record_text(revision, failure)
        with self._reporting:
            if self._record is not None:
                os.pwrite(self._record, text.encode(), 0)

    def await_others(self, revision: int, call: Call) -> None:
        """Wait until every living process is at this revision. See ``State``."""
        deadline = min(call.deadline, time.monotonic() + _MOST_SECONDS)
        # A later revision than that of this change is one of a state that has been deleted since.
        while behind := [r for r in self._records() if r is None or r.revision != revision]:
            if time.monotonic() > deadline:
                raise CallError(
                    "DEADLINE_EXCEEDED",
                    f"{len(behind)} of the server's processes did not follow in time",
                )
            call.check()
            time.sleep(_WAIT_SECONDS)
        for record in self._records():
            if record is not None and record.failure:
                raise CheckpointError(f"another process of the server: {record.failure}")

    def close(self) -> None:
        """Follow no more, and leave the others."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        with self._reporting:
            if self._record is not None:
                os.close(self._record)
            self._record = None

    def _await_turn(self, file: IO[str], call: Call) -> None:
        """Look for the lock again and again: nothing can end a wait within ``flock``."""
        while True:
            call.check()
            if self._closed.is_set():
                raise CallError("SHUTTING_DOWN", "the server is shutting down")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._closed.wait(_WAIT_SECONDS)
            else:
                return

    def _open_record(self) -> int:
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        hidden = self._workers / f".{name}"
        record = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        fcntl.flock(record, fcntl.LOCK_EX)
        hidden.rename(self._workers / name)  # only now may others find it
        return record

    def _records(self) -> list[_Record | None]:
        """Those of the living processes; None for one that has not reported yet."""
        paths = [path for path in self._workers.iterdir() if not path.name.startswith(".")]
        return [_parse(text) for path in paths if (text := _read_if_alive(path)) is not None]


def _record_text(revision: int, failure: str) -> str:
    """As much of a failure as has room beside the revision, always of the same length."""
    failure = failure[: _RECORD_BYTES // 8]
    while len(text := json.dumps({"revision": revision, "failure": failure})) > _RECORD_BYTES:
        failure = failure[:-1]
    return text.ljust(_RECORD_BYTES)


def _read_if_alive(path: Path) -> str | None:
    """A record's text, or None, and no file any more, if its process is gone."""
    try:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read()
            path.unlink()
    except FileNotFoundError:  # another process was quicker
        pass
    return None


def _parse(text: str) -> _Record | None:
    try:
        return _Record(**json.loads(text))
    except ValueError:  # not written yet
        return None
