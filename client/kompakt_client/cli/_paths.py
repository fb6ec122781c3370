"""Which files a command reads and writes."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kompakt_client._names import counted
from kompakt_client.cli._errors import UsageError, complain

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif")
STREAM_SUFFIX = ".kpt"
STDIN, STDOUT = "/dev/stdin", "/dev/stdout"

_MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class Job:
    """One file to read and the one to write for it."""

    source: Path
    target: Path


def find_inputs(inputs: Sequence[str], suffixes: Collection[str]) -> list[Path]:
    """Return the files that are named, and those directly in the directories that are.

    In a directory only files with one of the suffixes count; what is left out is
    told on stderr. Raises UsageError if nothing is found.
    """
    found: list[Path] = []
    for path in map(Path, inputs):
        found += _files_in(path, suffixes) if path.is_dir() else [path]
    if not found:
        raise UsageError(
            f"no {', '.join(suffixes)} file in {', '.join(inputs)}; directories are not searched "
            "for further directories"
        )
    return found


def read_file(path: Path) -> bytes:
    """Return what a file holds. Raises OSError."""
    if path == Path(STDIN):  # which by its name cannot be opened where it is a socket
        with open(0, "rb", closefd=False) as file:
            return file.read()
    return path.read_bytes()


def plan(inputs: Sequence[str], output: str, suffixes: Collection[str], suffix: str) -> list[Job]:
    """Return what to write where; in a directory the names stay and take this suffix.

    Raises UsageError if two inputs would write the same file, or one an input.
    """
    sources = find_inputs(inputs, suffixes)
    if is_directory(inputs, output):
        jobs = [Job(source, Path(output, f"{source.stem}{suffix}")) for source in sources]
    else:
        jobs = [Job(sources[0], Path(output))]
    _check_conflicts(jobs)
    return jobs


def is_directory(inputs: Sequence[str], output: str) -> bool:
    """Tell whether the output is a directory: by the inputs, or because it is or looks like one.

    Raises UsageError if it has to be one and is something else.
    """
    path = Path(output)
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise UsageError(f"{parent} is no directory, so nothing can be written to {output}")
    needed = len(inputs) > 1 or Path(inputs[0]).is_dir() or output.endswith(os.sep)
    if needed and path.exists() and not path.is_dir():
        raise UsageError(f"{output} must be a directory to hold several files")
    is_file_name = path.suffix.lower() in (STREAM_SUFFIX, *IMAGE_SUFFIXES)
    if needed and is_file_name and not (path.is_dir() or output.endswith(os.sep)):
        raise UsageError(f"{output} is the name of one file: name a directory for several")
    return needed or path.is_dir()


def _files_in(directory: Path, suffixes: Collection[str]) -> list[Path]:
    present = sorted(path for path in directory.iterdir() if path.is_file())
    skipped = [path.name for path in present if path.suffix.lower() not in suffixes]
    if skipped:
        more = ", …" if len(skipped) > _MAX_NAMED else ""
        names = ", ".join(skipped[:_MAX_NAMED])
        files = counted(len(skipped), "file")
        complain(directory, f"skipped {files} with other suffixes: {names}{more}")
    return [path for path in present if path.suffix.lower() in suffixes]


def _check_conflicts(jobs: Iterable[Job]) -> None:
    makers: dict[Path, Path] = {}
    for job in jobs:
        other = makers.setdefault(job.target.resolve(), job.source)
        if other is not job.source:
            raise UsageError(f"{other} and {job.source} would both be written to {job.target}")
    for job in jobs:
        if job.source.is_file() and job.source.resolve() in makers:
            raise UsageError(f"{job.source} would be overwritten: choose another output")
