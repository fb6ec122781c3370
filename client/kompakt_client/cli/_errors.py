"""How the command line fails: in one line on stderr, and with a status."""

from __future__ import annotations

import sys

FAILED = 1
USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


class UsageError(Exception):
    """The arguments do not make sense together; nothing was done."""


def complain(*parts: object) -> None:
    """Write one line to stderr, such as "kompakt: digit.png: not an image"."""
    text = ": ".join(str(part) for part in ("kompakt", *parts))
    print(" ".join(text.split()), file=sys.stderr)


def describe(error: Exception) -> str:
    """Return what went wrong, without the numbers of the operating system."""
    if isinstance(error, OSError) and error.strerror:
        named = f"{error.filename}: " if error.filename else ""
        return f"{named}{error.strerror}"
    return str(error) or type(error).__name__
