"""A benchmark's points written out: JSON, CSV, a plot, and a table for the terminal."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from kompakt_codec.frame import Profile
from kompakt_training.bench_measure import BenchPoint
from kompakt_training.bench_plot import plot_rate_distortion
from kompakt_training.state import write_whole
from kompakt_training.tables import write_csv

Row = dict[str, str | float | None]

_COLUMNS = {
    "codec": ("codec", ""),
    "setting": ("setting", ""),
    "bytes_per_image": ("bytes", ".2f"),
    "mse": ("MSE", ".3g"),
    "psnr_db": ("PSNR, dB", ".2f"),
    "encode_images_per_s": ("enc/s", ".0f"),
    "decode_images_per_s": ("dec/s", ".0f"),
}
"""Of the table for the terminal, which is to fit 80 columns: heading and format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What was measured, and on what."""

    data: str
    num_images: int
    image: str
    """Height, width and channels, such as "28x28x1"."""
    profile: Profile
    points: Sequence[BenchPoint]
    has_timings: bool
    """Whether the speeds are written out: they are never the same twice."""

    @property
    def subject(self) -> str:
        """The images, in words."""
        return f"{self.num_images} images of {self.data}, {self.image}"

    def rows(self) -> list[Row]:
        """The points by column; None where MSE is 0, so PSNR infinite, or there is no speed."""
        return [
            {
                "codec": point.codec,
                "setting": point.setting,
                "bytes_per_image": point.bytes_per_image,
                "bits_per_pixel": point.bits_per_pixel,
                "mse": point.mse,
                "psnr_db": point.psnr_db if point.mse else None,
                "encode_images_per_s": point.encode_images_per_s if self.has_timings else None,
                "decode_images_per_s": point.decode_images_per_s if self.has_timings else None,
            }
            for point in self.points
        ]


def write_bench(path: Path, bench: Bench) -> list[Path]:
    """Write ``path``, and beside it the same as .csv and a plot as .png; all paths written."""
    written = [path, path.with_suffix(".csv"), path.with_suffix(".png")]
    content = {
        "data": bench.data,
        "num_images": bench.num_images,
        "image": bench.image,
        "profile": bench.profile.value,
        "points": bench.rows(),
    }
    write_whole(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    write_csv(written[1], bench.rows())
    title = f"{bench.subject}, models as {bench.profile.value} frames"
    write_whole(written[2], plot_rate_distortion(bench.points, title=title))
    return written


def to_table(bench: Bench) -> Table:
    """The points as a table for a terminal."""
    table = Table(
        title=f"{bench.subject}, one stream an image", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for heading, spec in _COLUMNS.values():
        table.add_column(heading, justify="right" if spec else "left", overflow="fold")
    for row in bench.rows():
        table.add_row(*(_cell(row[key], spec) for key, (_, spec) in _COLUMNS.items()))
    return table


def _cell(value: str | float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)
