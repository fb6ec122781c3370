"""`kompakt models`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from kompakt_client._measurements import MeasuredQuality, ModelInfo, SizeRange, TrainingInfo
from kompakt_client.cli._connect import connect
from kompakt_client.cli._output import make_table, print_csv, print_json, print_table

_NESTED = {"measured": MeasuredQuality, "training": TrainingInfo}


def run(args: argparse.Namespace) -> int:
    """Print the models that were asked for, and return the exit status."""
    with connect(args) as client:
        models = client.models() if args.name is None else (client.model(args.name),)
    if args.json:
        print_json([asdict(model) for model in models])
    elif args.csv:
        print_csv(_csv_columns(), [_csv_row(model) for model in models])
    else:
        _print_table(models)
    return 0


def _csv_columns() -> list[str]:
    columns: list[str] = []
    for item in fields(ModelInfo):
        nested = _NESTED.get(item.name)
        inner = [f"{item.name}_{part.name}" for part in fields(nested)] if nested else []
        columns += inner or [item.name]
    return columns


def _csv_row(model: ModelInfo) -> dict[str, Any]:
    row = asdict(model)
    for name in _NESTED:
        row |= {f"{name}_{part}": value for part, value in (row.pop(name) or {}).items()}
    row["accepted_sizes"] = " ".join(map(_size, model.accepted_sizes))
    row["labels"] = " ".join(model.labels)
    row["curve"] = " ".join(map(_point, model.curve))
    row["latent_shape"] = "x".join(map(str, model.latent_shape))
    return row


def _print_table(models: Sequence[ModelInfo]) -> None:
    columns = (
        "model",
        "kind",
        "sizes",
        "trained on",
        "channels",
        "levels",
        "bytes/image",
        "bpp",
        "PSNR dB",
    )
    table = make_table("", columns, num_text=4)
    for model in models:
        table.add_row(
            _title(model),
            model.architecture,
            ", ".join(map(_size, model.accepted_sizes)),
            model.training.dataset if model.training else "",
            str(model.channels),
            f"{model.levels}, by eighths" if model.has_eighths else str(model.levels),
            *_rates(model),
        )
    print_table(table)


def _title(model: ModelInfo) -> str:
    if model.version and not model.is_current:
        return f"  {model.reference}"
    return f"{model.name} (default)" if model.is_default else model.name


def _rates(model: ModelInfo) -> tuple[str, ...]:
    measured = model.measured
    if measured is None:
        return ()
    # Bytes of the tiles that a model of any size was measured on say nothing of other images.
    is_one_size = not any("-" in _size(size) for size in model.accepted_sizes)
    image = f"{measured.bytes_per_image:.1f}" if is_one_size else ""
    rate = image, f"{measured.bits_per_pixel:.3f}"
    return (*rate, "lossless" if measured.psnr_db is None else f"{measured.psnr_db:.2f}")


def _point(measured: MeasuredQuality) -> str:
    return f"{measured.bytes_per_image:.1f}:{measured.mse:.6f}"


def _size(size: SizeRange) -> str:
    least = f"{size.min_height}x{size.min_width}"
    most = f"{size.max_height}x{size.max_width}"
    return least if least == most else f"{least}-{most}"
