"""The paper's table beside ours: rows, and how they are written out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_codec.metrics import mse
from kompakt_training.evaluation import (
    Evaluation,
    Result,
    evaluate_codec,
    evaluate_lossless,
    evaluate_webp,
)
from kompakt_training.imageset import Images
from kompakt_training.tables import write_csv

_SUBSET_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the comparison; None where there is no such figure."""

    codec: str
    mse: float
    psnr_db: float
    stream_bytes_per_image: float | None = None
    """Of a bare stream: an embedded frame, raw DEFLATE."""
    file_bytes_per_image: float | None = None
    """Of a file that stands alone."""
    bits_per_pixel: float | None = None
    """Of the bare stream where there is one, else of the file."""
    num_images: int | None = None


# The figures of the paper that this project began with: reconstruction error of its two models on
# MNIST, "MSE" and "PSNR" in its table of results. It gives no rate, and no number of images.
PAPER = (
    Row(codec="paper AE", mse=0.0027, psnr_db=25.71),
    Row(codec="paper VAE", mse=0.0138, psnr_db=18.59),
)

_HEADINGS = {
    "codec": "codec",
    "stream_bytes_per_image": "stream, bytes",
    "file_bytes_per_image": "file, bytes",
    "bits_per_pixel": "bpp",
    "mse": "MSE",
    "psnr_db": "PSNR, dB",
    "num_images": "images",
}
_DIGITS = {
    "stream_bytes_per_image": 2,
    "file_bytes_per_image": 2,
    "bits_per_pixel": 4,
    "mse": 5,
    "psnr_db": 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """A model on the test images: its line, and WebP's at the same quality."""

    row: Row
    webp: Row
    decoded: Images


def compare_model(codec: Codec, images: Images, *, num_baseline_images: int) -> ModelFigures:
    """Code every image as embedded frames and as files, then WebP on a fixed subset.

    ``WebP as NAME``: each image's smallest WebP file whose MSE is at most the model's on it.
    """
    name = codec.header.name
    embedded = evaluate_codec(codec, images, profile=Profile.EMBEDDED)
    file = evaluate_codec(codec, images, profile=Profile.FILE).result
    row = _row(name, embedded.result, stream=embedded.result, file=file)
    webp = _webp_at_equal_quality(embedded, images, num_baseline_images)
    return ModelFigures(
        row=row,
        webp=_row(f"WebP as {name}", webp, file=webp),
        decoded=embedded.decoded,
    )


def compare_lossless(images: Images) -> list[Row]:
    """Raw DEFLATE, and a ZIP archive for each image."""
    deflate, archive = (evaluate_lossless(name, images) for name in ("deflate", "zip"))
    return [_row("DEFLATE", deflate, stream=deflate), _row("ZIP", archive, file=archive)]


def to_markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [_HEADINGS.values(), ["---", *["---:"] * (len(_HEADINGS) - 1)], *map(_cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_table(rows: Sequence[Row], *, title: str) -> Table:
    """The rows as a table for a terminal."""
    table = Table(title=title)
    for key, heading in _HEADINGS.items():
        is_name = key == "codec"
        table.add_column(heading, justify="left" if is_name else "right", no_wrap=is_name)
    for row in rows:
        table.add_row(*_cells(row))
    return table


def save_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows as CSV, figures unrounded, empty where there is none."""
    write_csv(path, [{key: getattr(row, key) for key in _HEADINGS} for row in rows])


def _webp_at_equal_quality(evaluation: Evaluation, images: Images, num_images: int) -> Result:
    count = min(num_images, len(images))
    subset = np.random.default_rng(_SUBSET_SEED).choice(len(images), count, replace=False)
    originals, decoded = images[subset], evaluation.decoded[subset]
    return evaluate_webp(originals, [mse(a, b) for a, b in zip(originals, decoded, strict=True)])


def _row(
    codec: str, result: Result, *, stream: Result | None = None, file: Result | None = None
) -> Row:
    return Row(
        codec=codec,
        mse=result.mse,
        psnr_db=result.psnr_db,
        stream_bytes_per_image=stream.bytes_per_image if stream else None,
        file_bytes_per_image=file.bytes_per_image if file else None,
        bits_per_pixel=result.bits_per_pixel,
        num_images=result.num_images,
    )


def _cells(row: Row) -> list[str]:
    return [_cell(key, getattr(row, key)) for key in _HEADINGS]


def _cell(key: str, value: str | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.{_DIGITS[key]}f}" if key in _DIGITS else str(value)
