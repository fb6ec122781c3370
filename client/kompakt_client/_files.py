"""Writing of files."""

from __future__ import annotations

import os
from pathlib import Path


def write_file(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file whole or not at all, and return its path.

    The bytes go to a temporary file beside it, which then takes its place, so
    that nobody ever reads half a file. What is no regular file, such as a pipe,
    is written directly.
    """
    given = Path(path)
    if given.exists() and not given.is_file():
        given.write_bytes(data)
        return given
    try:
        _replace(given.resolve(), data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    return given


def _replace(target: Path, data: bytes) -> None:
    temporary = target.with_name(f".{os.urandom(8).hex()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
