"""The entry point: finds the command, runs it, and turns failures into a status."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from kompakt_client._errors import KompaktError
from kompakt_client.cli._errors import (
    BROKEN_PIPE,
    FAILED,
    INTERRUPTED,
    USAGE,
    UsageError,
    complain,
    describe,
)
from kompakt_client.cli._parser import COMMANDS, make_parser
from kompakt_client.cli._plugins import find_plugins, run_plugin


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status, whatever happens.

    0 is success, 1 a failure (in a run over many files, of any of them), 2 wrong
    usage, 130 an interrupt, 141 a reader that went away.
    """
    out = sys.stdout
    # Where nobody asked for anything else it fails at names that are not in UTF-8.
    if isinstance(out, io.TextIOWrapper) and out.errors == "strict":
        out.reconfigure(errors="surrogateescape")
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
        if sys.stdout is not None:  # as it is where it was closed
            sys.stdout.flush()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except UsageError as error:
        complain(error)
        return USAGE
    except (KompaktError, OSError) as error:
        complain(describe(error))
        return FAILED
    except Exception as error:
        complain(f"unexpected {type(error).__name__}: {describe(error)}")
        return FAILED
    return status


def _run(arguments: list[str]) -> int:
    """Run a command of the client, or of a part that is found only when it is asked for."""
    if (two_words := " ".join(arguments[:2])) in COMMANDS:
        arguments = [two_words, *arguments[2:]]
    if arguments and arguments[0] in COMMANDS:
        parsed = make_parser().parse_args(arguments)
        status: int = import_module(parsed.module).run(parsed)
        return status
    plugins = find_plugins()
    if arguments and arguments[0] in plugins:
        return run_plugin(plugins[arguments[0]], arguments[1:])
    make_parser(plugins).parse_args(arguments)
    return USAGE


def _silence_stdout() -> None:
    """Keep Python from writing what is left, and failing again, when it exits."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
