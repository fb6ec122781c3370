"""What a person sees of a training: how long it takes, a line an epoch, on a terminal a bar.

Bits per pixel are the training's estimates, as "bpp est." says.
"""

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self, TypeVar

import rich.progress
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from kompakt_codec.metrics import psnr_db
from kompakt_training.evaluation import Result
from kompakt_training.folder_survey import Track
from kompakt_training.state import HistoryRow, TrainingState
from kompakt_training.steps import Step, StepRow

WARM_UP_STEPS = 5
"""The first steps of a run, which take longer than the others."""
TIMED_STEPS = 30
_PIPE_WIDTH = 10_000

_Item = TypeVar("_Item")


def stdout_console(*, quiet: bool = False) -> Console:
    """Standard output: tables fit the terminal, or are unfolded into a file or pipe."""
    console = Console(quiet=quiet)
    if not console.is_terminal:  # which FORCE_COLOR makes it, with a bar as wide as it is
        console.width = _PIPE_WIDTH
    return console


def say(console: Console, text: str) -> None:
    """Print plain text as it is, without wrapping or colours; "?" for what has no encoding."""
    text = text.encode(console.encoding, "replace").decode(console.encoding)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def reading(console: Console) -> Track:
    """Say that images are read; on a terminal a bar shows how many."""
    say(console, "reading the images …")

    def track(items: Sequence[_Item], /) -> Iterable[_Item]:
        return rich.progress.track(
            items,
            "reading",
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )

    return track


def duration(seconds: float) -> str:
    """A time as a person would say it, such as "about 40 minutes"."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 100:
        return f"about {round(seconds)} seconds"
    if seconds < 100 * 60:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"


class TrainingProgress:
    """A context manager whose methods are the callbacks of ``fit``."""

    def __init__(
        self,
        console: Console,
        *,
        num_epochs: int,
        steps_per_epoch: int,
        epochs_done: int,
        pixels: int,
    ) -> None:
        """``pixels`` of an image that the model is trained on."""
        self._pixels = pixels
        self._num_epochs = num_epochs
        self._steps_done = epochs_done * steps_per_epoch
        self._num_steps = num_epochs * steps_per_epoch
        self._steps_run = 0
        self._timed_from = 0.0
        self._bar = Progress(
            TextColumn(f"epoch {{task.fields[epoch]}}/{num_epochs}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(
            "train",
            total=self._num_steps,
            completed=self._steps_done,
            epoch=epochs_done + 1,
            figures="loss …",
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def on_step(self, step: Step) -> None:
        """Count a step, and once it can be told, say how long the run will take."""
        self._steps_done += 1
        self._steps_run += 1
        if self._steps_run not in (WARM_UP_STEPS, WARM_UP_STEPS + TIMED_STEPS):
            return
        step.loss.total.item()  # wait for the device
        now = time.monotonic()
        if self._steps_run == WARM_UP_STEPS:
            self._timed_from = now
            return
        seconds = (now - self._timed_from) / TIMED_STEPS * (self._num_steps - self._steps_done)
        say(self._bar.console, f"training will take {duration(seconds)} on this machine")

    def on_row(self, row: StepRow) -> None:
        """Move the bar, with the figures of the last steps."""
        self._bar.update(
            self._task, completed=self._steps_done, epoch=row["epoch"], figures=live_figures(row)
        )

    def on_epoch(self, state: TrainingState) -> None:
        """Print the epoch's line."""
        row = state.history[-1]
        say(
            self._bar.console,
            f"epoch {state.epoch}/{self._num_epochs}  loss {row['train_loss']:.4g}"
            f"{self._rate_and_distortion(row)}  "
            f"validation {row['val_loss']:.4g}, MSE {row['val_mse']:.5f} "
            f"({row['val_psnr_db']:.2f} dB)  {row['seconds']:.0f} s",
        )

    def _rate_and_distortion(self, row: HistoryRow) -> str:
        if "train_bits" not in row:
            return ""
        rate = row["train_bits"] / self._pixels
        return f" ({rate:.3f} bpp est., {psnr_db(row['train_mse']):.2f} dB)"


def live_figures(row: StepRow) -> str:
    """A row of the steps' log as the bar shows it."""
    words = [f"loss {row['loss']:.4g}"]
    if "bits_per_pixel" in row:
        words += [f"{row['bits_per_pixel']:.3f} bpp est.", f"{row['psnr_db']:.2f} dB"]
    pace = row["images_per_second"]
    return "  ".join([*words, f"{pace:.{0 if pace >= 10 else 1}f} images/s"])


def results_table(results: Sequence[Result]) -> Table:
    """What a codec and others came to on the test images."""
    table = Table(title=f"{results[0].num_images} test images, one stream an image")
    table.add_column("codec")
    for heading in ("bytes/image", "bits/pixel", "MSE", "PSNR, dB"):
        table.add_column(heading, justify="right")
    for r in results:
        figures = (f"{r.bytes_per_image:.2f}", f"{r.bits_per_pixel:.4f}", f"{r.mse:.5f}")
        table.add_row(r.codec, *figures, f"{r.psnr_db:.2f}")
    return table
