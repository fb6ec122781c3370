"""Pictures of a training: loss curves, and originals beside what comes back."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

from kompakt_codec.files import write_whole
from kompakt_training.imageset import Images
from kompakt_training.losses import LOSS_LABELS
from kompakt_training.state import HistoryRow

_COLOURS = ("#0b6e99", "#c1440e")
_DPI = 150


def plot_history(path: Path, history: Sequence[HistoryRow], *, title: str, model: str) -> None:
    """Draw a run's losses, and beside them the PSNR of what rounding leaves."""
    figure = _figure(10, 4, title)
    losses, quality = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    _draw_losses(losses, history, colour=_COLOURS[0], label="")
    _label(losses, "epoch", LOSS_LABELS[model], "Loss")
    losses.legend()
    quality.plot(epochs, [row["val_psnr_db"] for row in history], ".-", color=_COLOURS[1])
    _label(quality, "epoch", "PSNR, dB", "Validation images, latents quantised")
    _save(figure, path)


def plot_both_losses(path: Path, histories: Mapping[str, Sequence[HistoryRow]]) -> None:
    """Draw the curves of two runs, by model, on an axis of their own each: the units differ."""
    figure = _figure(9, 5, "Loss curves")
    left = figure.subplots()
    lines = []
    for axes, colour, (model, history) in zip(
        (left, left.twinx()), _COLOURS, histories.items(), strict=True
    ):
        label = f"{model.upper()} "
        lines += _draw_losses(axes, history, colour=colour, label=label)
        _label(axes, "epoch", f"{label}loss: {LOSS_LABELS[model]}", "")
        axes.yaxis.label.set_color(colour)
        axes.tick_params(axis="y", colors=colour, which="both")
    left.grid(visible=True, alpha=0.3)
    left.legend(lines, [str(line.get_label()) for line in lines])
    _save(figure, path)


def plot_images(path: Path, rows: Mapping[str, Images], *, title: str) -> None:
    """Draw rows of images (N, height, width, channels), each with its label at the left."""
    num_columns = max(len(images) for images in rows.values())
    figure = _figure(1 + 0.9 * num_columns, 0.7 + 0.95 * len(rows), title)
    grid = figure.subplots(len(rows), num_columns, squeeze=False)
    for axes_row, (label, images) in zip(grid, rows.items(), strict=True):
        for axes in axes_row:
            axes.set_xticks([])
            axes.set_yticks([])
        for axes, image in zip(axes_row, images, strict=False):
            axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes_row[0].set_ylabel(label, rotation=0, ha="right", va="center")
    _save(figure, path)


def _draw_losses(
    axes: Axes, history: Sequence[HistoryRow], *, colour: str, label: str
) -> list[Line2D]:
    epochs = [row["epoch"] for row in history]
    lines = []
    for key, name, style in (("train_loss", "training", "-"), ("val_loss", "validation", "--")):
        values = [row[key] for row in history]
        lines += axes.plot(epochs, values, style, marker=".", color=colour, label=label + name)
    axes.set_yscale("log")
    # Of a log scale's own labels, so short a range shows too few or too many.
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_locator(NullLocator())
    return lines


def _label(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set_xlabel(x)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(y)
    axes.set_title(title)


def _figure(width: float, height: float, title: str) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    return figure


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=_DPI, format="png", metadata={"Software": None})
    write_whole(path, buffer.getvalue())
