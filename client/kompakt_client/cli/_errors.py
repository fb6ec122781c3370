"""How the command line fails: in one line on stderr, and with a status."""

from __future__ import annotations

import sys

from kompakt_client._errors import KompaktError

FAILED = 1
USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


_FLAGS = {"WRONG_SIZE": "--fit", "DEADLINE_EXCEEDED": "--timeout"}
"""What helps against a failure, by its reason or code."""


class UsageError(Exception):
    """The arguments do not make sense together; nothing was done."""


def complain(*parts: object) -> None:
    """Write one line to stderr, such as "kompakt: digit.png: not an image"."""
    text = ": ".join(str(part) for part in ("kompakt", *parts))
    print(" ".join(text.split()), file=sys.stderr)


def describe(error: Exception) -> str:
    """Return what went wrong and the flag that helps, without the operating system's numbers."""
    if isinstance(error, OSError) and error.strerror:
        named = f"{error.filename}: " if error.filename else ""
        return f"{named}{error.strerror}"
    if isinstance(error, KompaktError):
        flag = _FLAGS.get(error.reason or error.code)
        # Fields of messages are no words of the command line.
        return str(error).removeprefix("options.") + (f" ({flag})" if flag else "")
    return str(error) or type(error).__name__
