"""What commands print: one JSON document, CSV, a table, or progress."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from kompakt_client.cli._errors import UsageError
from kompakt_client.cli._paths import Job

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]

_PIPE_WIDTH = 10_000


class Advance(Protocol):
    """Says that one more item is done."""

    def __call__(self) -> None: ...


def print_json(document: object) -> None:
    """Print a document."""
    json.dump(document, sys.stdout, indent=2)
    sys.stdout.write("\n")


def print_csv(columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Print rows under a header; None is an empty cell."""
    writer = _csv_writer(columns)
    writer.writeheader()
    writer.writerows(rows)


@contextmanager
def row_printer(
    args: argparse.Namespace, columns: Sequence[str]
) -> Iterator[Callable[[Row], None]]:
    """Yield what prints a row at once, into a JSON list or as CSV, if one was asked for."""
    if args.json:
        with _json_list() as print_one:
            yield lambda row: print_one({column: row.get(column) for column in columns})
    elif args.csv:
        writer = _csv_writer(columns)
        writer.writeheader()
        yield writer.writerow
    else:
        yield lambda _: None


@contextmanager
def _json_list() -> Iterator[Callable[[Row], None]]:
    """Yield what prints one element of a list; the list is whole even if the run is not."""
    before = "["

    def print_one(document: Row) -> None:
        nonlocal before
        text = textwrap.indent(json.dumps(document, indent=2), "  ")
        sys.stdout.write(f"{before}\n{text}")
        before = ","

    try:
        yield print_one
    finally:
        if before == ",":
            sys.stdout.write("\n]\n")


def summary_file(args: argparse.Namespace, jobs: Iterable[Job]) -> TextIO:
    """Return where the summary goes: stderr, if standard output is a file that is to be written.

    Raises UsageError if standard output would hold rows too.
    """
    if not any(map(is_stdout, jobs)):
        return sys.stdout
    if args.json or args.csv:
        raise UsageError("standard output cannot hold a file and rows: choose another output")
    return sys.stderr


def is_stdout(job: Job) -> bool:
    """Tell whether what a job writes is what standard output goes to."""
    if sys.__stdout__ is None:  # closed as the command started: 1 may be any file's number
        return False
    try:
        return os.path.samestat(job.target.stat(), os.fstat(1))
    except OSError:
        return False


def _csv_writer(columns: Sequence[str]) -> csv.DictWriter[str]:
    return csv.DictWriter(sys.stdout, columns, lineterminator="\n", extrasaction="ignore")


def make_table(title: str, columns: Sequence[str], *, num_text: int) -> Table:
    """Return an empty table for people; the columns after the first few are numbers."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        if index < num_text:
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table


def print_table(table: Table) -> None:
    """Print a table: to the width of the terminal, or unfolded into a file or pipe."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    console.print(table)


@contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """Show a bar on stderr while items are done, if that is a terminal and there are several."""
    if total < 2 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
