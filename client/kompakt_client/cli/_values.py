"""What arguments hold: numbers and names, checked."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable

from kompakt_client._timeout import fault_of_timeout
from kompakt_client.cli._paths import STDIN, STDOUT

_MOST = 1 << 63
"""Of whole numbers: fields of the contract hold no more."""
_MOST_LEVELS = 1000
"""More than any model can have."""


def seconds(text: str) -> float:
    """Read a number of seconds, of more than 0 and at most a year."""
    value = float(text)
    if fault := fault_of_timeout(value):
        raise argparse.ArgumentTypeError(f"{fault}, not {text}")
    return value


def model_name(text: str) -> str:
    """Read a name, which is not empty: that would stand for the default model."""
    if not text:
        raise argparse.ArgumentTypeError("must be a name, not ''")
    return text


def path(text: str) -> str:
    """Read a path, which is not empty: that would stand for the directory one is in."""
    if not text:
        raise argparse.ArgumentTypeError("must be a path, not ''")
    return text


def source(text: str) -> str:
    """Read a path as ``path`` does; - is standard input."""
    return STDIN if text == "-" else path(text)


def target(text: str) -> str:
    """Read a path as ``path`` does; - is standard output."""
    if text == "-" and sys.stdout is None:
        raise argparse.ArgumentTypeError("standard output is closed")
    return STDOUT if text == "-" else path(text)


def quality(text: str) -> float:
    """Read a number from 0."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"must be a number from 0, not {text!r}")


def whole(text: str) -> int:
    """Read a whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0, not {text!r}")
    if int(text) > _MOST:
        raise argparse.ArgumentTypeError(f"is too large: {text}")
    return int(text)


def level(text: str) -> float:
    """Read a number from 0 in steps of 1/8."""
    value = quality(text)
    if value > _MOST_LEVELS:
        raise argparse.ArgumentTypeError(f"no model has so many levels: {text}")
    if value * 8 % 1:
        raise argparse.ArgumentTypeError(f"must be whole or in steps of 1/8, not {text!r}")
    return value


def positive(text: str) -> int:
    """Read a whole number from 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text!r}")
    return int(text)


def names_list(known: tuple[str, ...] | None = None) -> Callable[[str], list[str]]:
    """Return what reads names with commas between; "none" is no name at all."""

    def names(text: str) -> list[str]:
        if known and text == "none":
            return []
        found = [name.strip() for name in text.split(",")]
        for name in found:
            if not name or (known and name not in known):
                choices = f"; choose from {', '.join(known)}, or none" if known else ""
                raise argparse.ArgumentTypeError(f"unknown name {name!r}{choices}")
        return found

    return names
