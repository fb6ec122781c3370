"""What compress and decompress share: a run of files through the server, to files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kompakt_client._errors import KompaktError
from kompakt_client._names import counted
from kompakt_client._results import Compressed, Decompressed, Failure
from kompakt_client.cli._errors import FAILED, complain, describe
from kompakt_client.cli._output import Row, is_stdout, progress
from kompakt_client.cli._paths import Job, read_file

Result = Compressed | Decompressed


@dataclass(slots=True)
class Run:
    """Files on their way: read as they are sent, written as results come, and then forgotten."""

    jobs: Sequence[Job]
    fields: Sequence[str]
    """Those fields of a result that its row shows."""
    count: Callable[[Any], None]
    """Takes each result that was written."""
    print_row: Callable[[Row], None]
    """Takes a row for each file, in order, with its error if it failed."""
    num_done: int = 0
    """How many files were written."""
    _under_way: deque[Job | Row] = field(default_factory=deque)
    """What was sent, in order, with the rows of files between that could not be read."""

    def transform(
        self, what: str, send: Callable[[Iterable[bytes]], Iterable[Result | Failure]]
    ) -> None:
        """Send every file; those that fail are told on stderr, and how far an interrupt let it."""
        for directory in {job.target.parent for job in self.jobs}:
            directory.mkdir(parents=True, exist_ok=True)
        try:
            with progress(what, len(self.jobs)) as advance:
                for result in send(self._read()):
                    job = self._next_job()
                    self.print_row(self._write(job, result))
                    advance()
                self._print_unread()
        except KeyboardInterrupt:
            files = counted(len(self.jobs), "file")
            complain(f"interrupted: wrote {self.num_done} of {files}")
            raise

    @property
    def status(self) -> int:
        """The exit status: a failure if any file failed."""
        return 0 if self.num_done == len(self.jobs) else FAILED

    def _read(self) -> Iterator[bytes]:
        for job in self.jobs:
            try:
                data = read_file(job.source)
            except OSError as error:
                self._under_way.append(_fail(job, error))
                continue
            self._under_way.append(job)
            yield data

    def _next_job(self) -> Job:
        self._print_unread()
        job = self._under_way.popleft()
        assert isinstance(job, Job)
        return job

    def _print_unread(self) -> None:
        while self._under_way and not isinstance(row := self._under_way[0], Job):
            self.print_row(row)
            self._under_way.popleft()

    def _write(self, job: Job, result: Result | Failure) -> Row:
        if isinstance(result, Failure):
            return _fail(job, result.error)
        to_stdout = is_stdout(job)
        try:
            if to_stdout:  # which may hold something already
                # Not sys.stdout, which tries what failed again at the end, or writes but a part.
                with open(1, "wb", closefd=False) as file:
                    file.write(result.data)
            else:
                result.save(job.target)
        except OSError as error:
            if to_stdout and isinstance(error, BrokenPipeError):
                raise  # as of every command whose reader goes away
            return _fail(job, error, at=job.target)
        self.num_done += 1
        self.count(result)
        values = {name: getattr(result, name) for name in self.fields}
        return {"input": str(job.source), "output": str(job.target), **values}


def _fail(job: Job, error: Exception, at: Path | None = None) -> Row:
    reason = error.reason if isinstance(error, KompaktError) else ""
    message = error.strerror if isinstance(error, OSError) else None
    text = message or describe(error)
    complain(at or job.source, text)
    return {"input": str(job.source), "error": text, "reason": reason}
