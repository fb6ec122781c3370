"""`kompakt compress`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

from kompakt_client._results import Compressed, Failure
from kompakt_client.cli._connect import connect
from kompakt_client.cli._errors import UsageError
from kompakt_client.cli._output import row_printer, summary_file
from kompakt_client.cli._paths import IMAGE_SUFFIXES, STREAM_SUFFIX, Job, plan
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
    "metadata_bytes",
)


@dataclass(slots=True)
class _Totals:
    """What the images that were compressed come to."""

    num_images: int = 0
    num_bytes: int = 0
    metadata_bytes: int = 0
    """How many of them keep metadata."""
    num_pixels: int = 0
    num_measured: int = 0
    """How many images' distortion is known."""
    least_psnr_db: float = inf
    """Of the lossy ones."""
    codecs: Counter[str] = field(default_factory=Counter)
    """The classical codecs that took images over."""
    fitted: str = ""
    """How the last image was fitted."""
    level: float | None = None
    """The last image's."""

    def add(self, one: Compressed) -> None:
        """Count an image in."""
        self.num_images += 1
        self.num_bytes += one.num_bytes
        self.metadata_bytes += one.metadata_bytes
        self.num_pixels += one.height * one.width
        self.num_measured += one.mse is not None
        if one.psnr_db is not None:
            self.least_psnr_db = min(self.least_psnr_db, one.psnr_db)
        self.level = one.level
        if one.codec != one.model:
            self.codecs[one.codec] += 1
        self.fitted = f", fitted to {one.height}x{one.width}x{one.channels}" if one.fitted else ""

    def summary(self, jobs: Sequence[Job]) -> str:
        """Say it in a line."""
        metadata = f" ({self.metadata_bytes} of them metadata)" if self.metadata_bytes else ""
        rate = f"{8 * self.num_bytes / self.num_pixels:.3f} bits per pixel{self._distortion()}"
        if len(jobs) == 1:
            codec = "".join(f", as {codec}" for codec in self.codecs)
            if self.level is not None and self.num_measured:
                codec = f", level {self.level:g}"
            return f"{jobs[0].target}: {self.num_bytes} bytes{metadata}, {rate}{codec}{self.fitted}"
        codecs = "".join(f", {count} as {codec}" for codec, count in sorted(self.codecs.items()))
        return (
            f"compressed {self.num_images} of {len(jobs)} images: {self.num_bytes} bytes{metadata}"
            f", {self.num_bytes / self.num_images:.1f} an image, {rate}{codecs}"
        )

    def _distortion(self) -> str:
        """The least PSNR, if every image's was measured."""
        if self.num_measured < self.num_images:
            return ""
        if self.least_psnr_db == inf:
            return ", lossless"
        return f", {'at least ' if self.num_images > 1 else ''}{self.least_psnr_db:.2f} dB"


def run(args: argparse.Namespace) -> int:
    """Compress the files that were asked for, and return the exit status."""
    if args.keep_metadata and args.profile == "embedded":
        raise UsageError(
            "--keep-metadata goes with --profile file: an embedded stream has no place for metadata"
        )
    jobs = plan(args.inputs, args.output, IMAGE_SUFFIXES, STREAM_SUFFIX)
    for job in jobs:
        if job.target.suffix.lower() in IMAGE_SUFFIXES:
            raise UsageError(
                f"{job.target} would hold a stream, which no viewer opens: name it "
                f"{job.target.with_suffix(STREAM_SUFFIX)}"
            )
    file = summary_file(args, jobs)
    totals = _Totals()
    columns = ("input", "output", *_FIELDS, "error", "reason")
    with connect(args) as client, row_printer(args, columns) as print_row:

        def send(images: Iterable[bytes]) -> Iterator[Compressed | Failure]:
            return client.compress_many(
                images,
                model=args.model,
                profile=args.profile,
                fit=args.fit,
                level=args.level,
                label=args.label,
                min_psnr_db=args.min_psnr,
                max_mse=args.max_mse,
                max_bytes=args.max_bytes,
                lossless=args.lossless,
                fallback=args.fallback,
                keep_metadata=args.keep_metadata,
                timeout=args.timeout,
            )

        run = Run(jobs, _FIELDS, totals.add, print_row)
        run.transform("compressing", send)
    if totals.num_images and not (args.json or args.csv):
        print(totals.summary(jobs), file=file)
    return run.status
