"""`kompakt decompress`."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from kompakt_client._names import SUFFIXES, Format, format_of_path
from kompakt_client._results import Decompressed, Failure
from kompakt_client.cli._connect import connect
from kompakt_client.cli._errors import UsageError
from kompakt_client.cli._output import row_printer, summary_file
from kompakt_client.cli._paths import STREAM_SUFFIX, is_directory, plan
from kompakt_client.cli._transform import Run

_FIELDS = ("format", "height", "width", "channels", "model", "codec")


def run(args: argparse.Namespace) -> int:
    """Decompress the files that were asked for, and return the exit status."""
    image_format = _choose_format(args)
    jobs = plan(args.inputs, args.output, (STREAM_SUFFIX,), _suffix_of(image_format))
    file = summary_file(args, jobs)
    last: deque[Decompressed] = deque(maxlen=1)
    columns = ("input", "output", *_FIELDS, "error", "reason")
    with connect(args) as client, row_printer(args, columns) as print_row:

        def send(streams: Iterable[bytes]) -> Iterator[Decompressed | Failure]:
            return client.decompress_many(
                streams, model=args.model, profile=args.profile, format=image_format
            )

        run = Run(jobs, _FIELDS, last.append, print_row)
        run.transform("decompressing", send)
    if not (args.json or args.csv):
        _summarise(run, last, file)
    return run.status


def _choose_format(args: argparse.Namespace) -> Format:
    """Return what --format says, else OUT's suffix, else PNG.

    Raises UsageError if OUT's suffix names another format, or without --format none.
    """
    chosen: Format = args.format or "png"
    output = Path(args.output)
    if is_directory(args.inputs, args.output) or not output.suffix:
        return chosen
    if args.format:
        named = SUFFIXES.get(output.suffix.lower(), chosen)
        if named != chosen:
            raise UsageError(
                f"{output} would hold a {chosen.upper()}: name it "
                f"{output.with_suffix(_suffix_of(chosen))}, or choose --format {named}"
            )
        return chosen
    try:
        return format_of_path(args.output)
    except ValueError as error:
        raise UsageError(f"{error}, or choose with --format") from error


def _suffix_of(image_format: Format) -> str:
    return next(suffix for suffix, name in SUFFIXES.items() if name == image_format)


def _summarise(run: Run, last: Iterable[Decompressed], file: TextIO) -> None:
    if len(run.jobs) > 1:
        print(f"decompressed {run.num_done} of {len(run.jobs)} images", file=file)
        return
    for image in last:
        size = f"{image.width} x {image.height} pixels"
        print(f"{run.jobs[0].target}: {size}, by {image.codec}", file=file)
