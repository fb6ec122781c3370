"""How the command line fails: in one line on stderr, and with a status."""

from __future__ import annotations

import sys

from kompakt_client._errors import KompaktError

FAILED = 1
USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


_FLAGS = {
    "to be fitted": "--fit",
    "ask for a fit": "--fit",
    "longer timeout": "--timeout",
    "with all its versions": "--all",
}
"""The flag for what a failure's message proposes."""


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
        text = str(error).removeprefix("options.")  # which is no word of the command line
        return text + "".join(f" ({flag})" for words, flag in _FLAGS.items() if words in text)
    return str(error) or type(error).__name__
