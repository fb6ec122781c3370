"""What compress and decompress share: a run of files through a stream, to files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kompakt_client._errors import KompaktError
from kompakt_client._results import Compressed, Decompressed, Failure
from kompakt_client.cli._errors import FAILED, complain, describe
from kompakt_client.cli._output import Row, progress
from kompakt_client.cli._paths import Job

Result = Compressed | Decompressed


@dataclass(slots=True)
class Run:
    """Files on their way: read as the stream takes them, written as results come."""

    jobs: Sequence[Job]
    fields: Sequence[str]
    """Those fields of a result that its row shows."""
    done: list[Result] = field(default_factory=list)
    _under_way: deque[Job] = field(default_factory=deque)
    _rows: dict[Job, Row] = field(default_factory=dict)

    def transform(
        self, what: str, stream: Callable[[Iterable[bytes]], Iterable[Result | Failure]]
    ) -> None:
        """Send every file through the stream; those that fail are told on stderr."""
        for directory in {job.target.parent for job in self.jobs}:
            directory.mkdir(parents=True, exist_ok=True)
        with progress(what, len(self.jobs)) as advance:
            for result in stream(self._read()):
                self._write(self._under_way.popleft(), result)
                advance()

    @property
    def rows(self) -> list[Row]:
        """One row for each file, in order, with its error if it failed."""
        return [self._rows[job] for job in self.jobs]

    @property
    def status(self) -> int:
        """The exit status: a failure if any file failed."""
        return 0 if len(self.done) == len(self.jobs) else FAILED

    def _read(self) -> Iterator[bytes]:
        for job in self.jobs:
            try:
                data = job.source.read_bytes()
            except OSError as error:
                self._fail(job, error)
                continue
            self._under_way.append(job)
            yield data

    def _write(self, job: Job, result: Result | Failure) -> None:
        if isinstance(result, Failure):
            self._fail(job, result.error)
            return
        try:
            result.save(job.target)
        except OSError as error:
            self._fail(job, error, at=job.target)
            return
        values: dict[str, Any] = {name: getattr(result, name) for name in self.fields}
        self._rows[job] = {"input": str(job.source), "output": str(job.target), **values}
        self.done.append(result)

    def _fail(self, job: Job, error: Exception, at: Path | None = None) -> None:
        reason = error.reason if isinstance(error, KompaktError) else ""
        message = error.strerror if isinstance(error, OSError) else None
        text = message or describe(error)
        complain(at or job.source, text)
        self._rows[job] = {"input": str(job.source), "error": text, "reason": reason}
