"""How the commands speak: one line for an error, exit status 2 for usage, 1 for failure."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from kompakt_codec.errors import CodecError
from kompakt_training.errors import TrainingError

INTERRUPTED = 130

_CPU_IS_FULL = "DefaultCPUAllocator: can't allocate memory"
"""What PyTorch says where its error has no class of its own."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the error and leave with status 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def run_command(
    parser: Parser,
    command: Callable[[Parser, argparse.Namespace], None],
    argv: list[str],
    *,
    on_interrupt: Callable[[argparse.Namespace], str] = lambda _: "nothing was written",
) -> int:
    """Parse ``argv``, run the command, and give the process's exit status.

    ``on_interrupt`` says what is to be known after Ctrl-C, of the arguments parsed until then.
    """
    args = argparse.Namespace()
    try:
        command(parser, parser.parse_args(argv, args))
    except SystemExit as exc:  # argparse: after --help, or after a usage error
        return exc.code if isinstance(exc.code, int) else 1
    except KeyboardInterrupt:
        return _fail(parser, f"interrupted: {on_interrupt(args)}", INTERRUPTED)
    except (TrainingError, CodecError, OSError) as exc:
        return _fail(parser, str(exc), 1)
    except (MemoryError, RuntimeError) as exc:
        if not _is_out_of_memory(exc):
            raise
        return _fail(parser, "out of memory: lower --batch-size, or take fewer images", 1)
    return 0


def _is_out_of_memory(error: Exception) -> bool:
    from torch import OutOfMemoryError  # what raised the error has imported PyTorch

    return isinstance(error, (MemoryError, OutOfMemoryError)) or _CPU_IS_FULL in str(error)


def _fail(parser: Parser, message: str, status: int) -> int:
    print(f"{parser.prog}: {' '.join(message.split())}\n", end="", file=sys.stderr)
    return status
