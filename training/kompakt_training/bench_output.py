"""A benchmark written out: JSON, CSV, a plot, a page, and tables for the terminal."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from kompakt_codec.files import write_whole
from kompakt_codec.frame import Profile
from kompakt_training.bench_measure import BenchPoint
from kompakt_training.bench_plot import plot_rate_distortion
from kompakt_training.bench_published import PublishedPoint
from kompakt_training.bench_summary import BITS_PER_PIXEL, CodecSummary
from kompakt_training.errors import TrainingError
from kompakt_training.tables import write_csv

Row = dict[str, str | float | None]

_COLUMNS = {
    "codec": ("codec", ""),
    "setting": ("setting", ""),
    "bytes_per_image": ("bytes", ".2f"),
    "mse": ("MSE", ".3g"),
    "psnr_db": ("PSNR, dB", ".2f"),
    "encode_images_per_s": ("enc/s", ".3g"),
    "decode_images_per_s": ("dec/s", ".3g"),
}
"""Of the table for the terminal, which is to fit 80 columns: heading and format."""

_SUMMARY_COLUMNS = {
    "codec": ("codec", ""),
    "source": ("figures", ""),
    "bd_rate_vs_jpeg_percent": ("rate beside JPEG's, %", "+.1f"),
    "bd_rate_variant": ("with", ""),
    "bd_rate_low_db": ("from dB", ".1f"),
    "bd_rate_high_db": ("to dB", ".1f"),
    "peak_memory_mib": ("MiB", ".0f"),
}

_MEASURED, _PUBLISHED = "measured", "published"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What was measured, and on what."""

    data: str
    num_images: int
    image: str
    """Height, width and channels, such as "28x28x1", of all sizes that there are."""
    profile: Profile
    points: Sequence[BenchPoint]
    published: Sequence[PublishedPoint]
    codecs: Sequence[CodecSummary]
    has_timings: bool
    """Whether the speeds are written out: they are never the same twice."""

    @property
    def subject(self) -> str:
        """The images, in words."""
        return f"{self.num_images} images of {self.data}, {self.image}"

    def rows(self) -> list[Row]:
        """The points by column, first what was measured; None where there is no finite figure."""
        rows = [self._row(point) for point in self.points]
        return rows + [dict.fromkeys(rows[0]) | _published_row(point) for point in self.published]

    def _row(self, point: BenchPoint) -> Row:
        return {
            "codec": point.codec,
            "setting": point.setting,
            "source": _MEASURED,
            "bytes_per_image": point.bytes_per_image,
            "bits_per_pixel": point.bits_per_pixel,
            "bits_per_pixel_mean": point.bits_per_pixel_mean,
            "mse": point.mse,
            "psnr_db": _finite(point.psnr_db),
            "psnr_mean_db": _finite(point.psnr_mean_db),
            "ms_ssim": point.ms_ssim,
            "encode_images_per_s": self._timing(point.encode_images_per_s),
            "decode_images_per_s": self._timing(point.decode_images_per_s),
            "encode_megapixels_per_s": self._timing(point.encode_megapixels_per_s),
            "decode_megapixels_per_s": self._timing(point.decode_megapixels_per_s),
        }

    def _timing(self, value: float | None) -> float | None:
        return value if self.has_timings else None


def output_paths(path: Path) -> list[Path]:
    """``path``, and what is written beside it: .csv, .png, .html."""
    return [path, *(path.with_suffix(suffix) for suffix in (".csv", ".png", ".html"))]


def require_writable(path: Path) -> None:
    """Make the folder of ``path``. Raises TrainingError unless all files can be written there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for one in output_paths(path):
        if one.is_dir():
            raise TrainingError(f"{one} is a directory")
    if not os.access(path.parent, os.W_OK):
        raise TrainingError(f"{path.parent} cannot be written to")


def write_bench(path: Path, bench: Bench, page: bytes) -> list[Path]:
    """Write ``path``, beside it the points as .csv, a plot as .png, ``page``; all paths written."""
    written = output_paths(path)
    content = {
        "data": bench.data,
        "num_images": bench.num_images,
        "image": bench.image,
        "profile": bench.profile.value,
        "bd_rate_bits_per_pixel": BITS_PER_PIXEL,
        "codecs": [_summary_row(summary) for summary in bench.codecs],
        "points": bench.rows(),
    }
    write_whole(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    write_csv(written[1], bench.rows())
    title = f"{bench.subject}, models as {bench.profile.value} frames"
    write_whole(written[2], plot_rate_distortion(bench.points, bench.published, title=title))
    write_whole(written[3], page)
    return written


def to_table(bench: Bench) -> Table:
    """The points as a table for a terminal."""
    rows = [row for row in bench.rows() if row["source"] == _MEASURED]
    return _table(f"{bench.subject}, one stream an image", _COLUMNS, rows)


def to_summary_table(bench: Bench) -> Table:
    """The codecs as a table for a terminal."""
    rows = [_summary_row(summary) for summary in bench.codecs]
    return _table("Bytes at equal PSNR, and memory", _SUMMARY_COLUMNS, rows)


def _summary_row(summary: CodecSummary) -> Row:
    found = summary.bd_rate
    return {
        "codec": summary.codec,
        "source": _PUBLISHED if summary.is_published else _MEASURED,
        "bd_rate_vs_jpeg_percent": found.percent if found else None,
        "bd_rate_variant": summary.variant,
        "bd_rate_low_db": found.low_db if found else None,
        "bd_rate_high_db": found.high_db if found else None,
        "bd_rate_reason": summary.bd_rate_reason,
        "peak_memory_mib": summary.peak_memory_mib,
    }


def _published_row(point: PublishedPoint) -> Row:
    return {
        "codec": point.codec,
        "setting": point.setting,
        "source": _PUBLISHED,
        "bits_per_pixel_mean": point.bits_per_pixel_mean,
        "psnr_mean_db": point.psnr_mean_db,
        "ms_ssim": point.ms_ssim,
    }


def _table(title: str, columns: dict[str, tuple[str, str]], rows: Sequence[Row]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading, spec in columns.values():
        table.add_column(heading, justify="right" if spec else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[key], spec) for key, (_, spec) in columns.items()))
    return table


def _cell(value: str | float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
