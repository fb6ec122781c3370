"""`kompakt compress`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator

from kompakt_client._results import Compressed, Failure
from kompakt_client.cli._connect import connect
from kompakt_client.cli._output import print_rows
from kompakt_client.cli._paths import IMAGE_SUFFIXES, STREAM_SUFFIX, plan
from kompakt_client.cli._transform import Run

_FIELDS = (
    "num_bytes",
    "bits_per_pixel",
    "model",
    "fingerprint",
    "profile",
    "crc32c",
    "height",
    "width",
    "channels",
    "fitted",
)


def run(args: argparse.Namespace) -> int:
    """Compress the files that were asked for, and return the exit status."""
    run = Run(plan(args.inputs, args.output, IMAGE_SUFFIXES, STREAM_SUFFIX), _FIELDS)
    with connect(args) as client:

        def stream(images: Iterable[bytes]) -> Iterator[Compressed | Failure]:
            return client.compress_stream(
                images, model=args.model, profile=args.profile, fit=args.fit
            )

        run.transform("compressing", stream)
    if not print_rows(args, ("input", "output", *_FIELDS, "error", "reason"), run.rows):
        _summarise(run)
    return run.status


def _summarise(run: Run) -> None:
    done = [result for result in run.done if isinstance(result, Compressed)]
    if not done:
        return
    num_bytes = sum(result.num_bytes for result in done)
    rate = 8 * num_bytes / sum(result.height * result.width for result in done)
    if len(run.jobs) == 1:
        one = done[0]
        fitted = f", fitted to {one.height}x{one.width}x{one.channels}" if one.fitted else ""
        print(f"{run.jobs[0].target}: {num_bytes} bytes, {rate:.3f} bits per pixel{fitted}")
        return
    print(
        f"compressed {len(done)} of {len(run.jobs)} images: {num_bytes} bytes, "
        f"{num_bytes / len(done):.1f} an image, {rate:.3f} bits per pixel"
    )
