"""`kompakt evaluate`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kompakt_client._measurements import Evaluation, ImageEvaluation, Measurement
from kompakt_client._names import counted
from kompakt_client._results import Failure
from kompakt_client.cli._connect import connect
from kompakt_client.cli._errors import FAILED, complain, describe
from kompakt_client.cli._output import (
    Advance,
    Row,
    make_table,
    print_csv,
    print_json,
    print_table,
    progress,
)
from kompakt_client.cli._paths import IMAGE_SUFFIXES, find_inputs, read_file

_COLUMNS = (
    "codec",
    "reference_model",
    "setting",
    "num_images",
    "bytes_per_image",
    "size_bytes",
    "bits_per_pixel",
    "mse",
    "psnr_db",
    "mean_psnr_db",
    "ssim",
    "ratio_to_zip",
    "encode_seconds",
    "decode_seconds",
)
_HEADINGS = (
    *("codec", "images", "bytes/image", "bpp", "MSE", "PSNR dB", "SSIM"),
    *("vs ZIP", "encode ms", "decode ms"),
)


@dataclass(frozen=True, slots=True)
class _Report:
    """What was measured, and on which files."""

    num_files: int
    read: Sequence[Path]
    """The files that could be read: those that were measured, in order."""
    evaluation: Evaluation

    @property
    def num_failed(self) -> int:
        """How many files could not be read or measured."""
        return self.num_files - len(self.read) + len(self.evaluation.failures)

    def images(self) -> list[Row]:
        """Return each image's name with its rows, or with its error."""
        named = zip(self.read, self.evaluation.images, strict=True)
        return [
            {"image": str(path), "error": str(image.error), "reason": image.error.reason}
            if isinstance(image, Failure)
            else {"image": str(path), "measurements": _rows(image.measurements, [image])}
            for path, image in named
        ]


def run(args: argparse.Namespace) -> int:
    """Measure the files that were asked for, print it, and return the exit status."""
    report = _measure(args, find_inputs(args.inputs, IMAGE_SUFFIXES))
    for failure in report.evaluation.failures:
        complain(report.read[failure.index], failure.error)
    images = report.images() if args.per_image else []
    sound = [one for one in report.evaluation.images if isinstance(one, ImageEvaluation)]
    pooled = _rows(report.evaluation.pooled, sound)
    if args.json:
        counts = {"num_images": report.num_files, "num_failed": report.num_failed}
        print_json({**counts, "pooled": pooled, **({"images": images} if args.per_image else {})})
    elif args.csv:
        print_csv(("image", *_COLUMNS), [*_named_rows(images), *pooled])
    else:
        _print_tables(images, pooled, report)
    return FAILED if report.num_failed else 0


def _measure(args: argparse.Namespace, paths: Sequence[Path]) -> _Report:
    read: list[Path] = []
    with connect(args) as client, progress("evaluating", len(paths)) as advance:
        evaluation = client.evaluate(
            _read(paths, read, advance),
            models=args.models,
            baselines=args.baselines,
            profile=args.profile,
            fit=args.fit,
            level=args.level,
            timeout=args.timeout,
        )
    return _Report(len(paths), read, evaluation)


def _read(paths: Sequence[Path], read: list[Path], advance: Advance) -> Iterator[bytes]:
    """Yield the bytes of the files and note which could be read."""
    for path in paths:
        advance()
        try:
            data = read_file(path)
        except OSError as error:
            complain(path, error.strerror or describe(error))
            continue
        read.append(path)
        yield data


def _rows(
    measurements: Sequence[Measurement], images: Sequence[ImageEvaluation]
) -> list[dict[str, Any]]:
    """Return measurements of these images as rows, each with its ratio to ZIP.

    A codec that measured only some of the images is compared with ZIP on those.
    """
    zip_bytes: Counter[tuple[str, str]] = Counter()
    for image in images:
        of_image = {one.codec: one.size_bytes for one in image.measurements}
        for one in image.measurements:
            zip_bytes[one.codec, one.reference_model] += of_image.get("zip", 0)
    rows = []
    for measurement in measurements:
        row = asdict(measurement) | {"bytes_per_image": measurement.bytes_per_image}
        zipped = zip_bytes[measurement.codec, measurement.reference_model]
        row["ratio_to_zip"] = zipped / max(measurement.size_bytes, 1) if zipped else None
        rows.append({column: row[column] for column in _COLUMNS})
    return rows


def _named_rows(images: Sequence[Row]) -> Iterator[Row]:
    for image in images:
        for row in image.get("measurements", ()):
            yield {"image": image["image"], **row}


def _print_tables(images: Sequence[Row], pooled: Sequence[Row], report: _Report) -> None:
    if images:
        table = make_table("Each image", ("image", *_HEADINGS), num_text=2)
        for row in _named_rows(images):
            table.add_row(row["image"], *_cells(row))
        print_table(table)
    if pooled:
        table = make_table("", _HEADINGS, num_text=1)
        table.title = f"{counted(report.num_files - report.num_failed, 'image')}, pooled"
        for row in pooled:
            table.add_row(*_cells(row))
        print_table(table)


def _cells(row: Row) -> tuple[str, ...]:
    reference = f" (as good as {row['reference_model']})" if row["reference_model"] else ""
    setting = f" {row['setting']}" if row["setting"] else ""
    per_image = 1000 / max(row["num_images"], 1)
    return (
        f"{row['codec']}{setting}{reference}",
        str(row["num_images"]),
        f"{row['bytes_per_image']:.1f}",
        f"{row['bits_per_pixel']:.3f}",
        f"{row['mse']:.5f}",
        _decimal(row["psnr_db"], 2),
        _decimal(row["ssim"], 4),
        _decimal(row["ratio_to_zip"], 2),
        f"{row['encode_seconds'] * per_image:.2f}",
        f"{row['decode_seconds'] * per_image:.2f}",
    )


def _decimal(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
