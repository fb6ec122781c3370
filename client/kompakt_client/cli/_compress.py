"""`kompakt compress`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from kompakt_client._results import Compressed, Failure
from kompakt_client.cli._connect import connect
from kompakt_client.cli._output import print_rows
from kompakt_client.cli._paths import IMAGE_SUFFIXES, STREAM_SUFFIX, plan
from kompakt_client.cli._transform import Run

_FIELDS = (
    "num_bytes",
    "bits_per_pixel",
    "mse",
    "psnr_db",
    "model",
    "codec",
    "level",
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
                images,
                model=args.model,
                profile=args.profile,
                fit=args.fit,
                level=args.level,
                min_psnr_db=args.min_psnr,
                max_mse=args.max_mse,
                max_bytes=args.max_bytes,
                lossless=args.lossless,
                fallback=args.fallback,
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
        print(
            f"{run.jobs[0].target}: {num_bytes} bytes, {rate:.3f} bits per pixel"
            f"{_distortion(done)}{_codecs(done)}{fitted}"
        )
        return
    print(
        f"compressed {len(done)} of {len(run.jobs)} images: {num_bytes} bytes, "
        f"{num_bytes / len(done):.1f} an image, {rate:.3f} bits per pixel"
        f"{_distortion(done)}{_codecs(done)}"
    )


def _distortion(done: Sequence[Compressed]) -> str:
    """The least PSNR, if every image's was measured."""
    if any(result.mse is None for result in done):
        return ""
    lossy = [result.psnr_db for result in done if result.psnr_db is not None]
    if not lossy:
        return ", lossless"
    return f", {'at least ' if len(done) > 1 else ''}{min(lossy):.2f} dB"


def _codecs(done: Sequence[Compressed]) -> str:
    """How many images classical codecs took over."""
    counts = Counter(result.codec for result in done if result.codec != result.model)
    if len(done) == 1:
        return "".join(f", as {codec}" for codec in counts)
    return "".join(f", {count} as {codec}" for codec, count in sorted(counts.items()))
