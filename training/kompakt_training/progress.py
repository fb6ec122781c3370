"""What a person sees of a training: how long it takes, a line an epoch, on a terminal a bar."""

import time
from types import TracebackType
from typing import Self

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from kompakt_training.state import TrainingState

WARM_UP_STEPS = 5
"""The first steps of a run, which take longer than the others."""
TIMED_STEPS = 30

_STEPS_PER_REFRESH = 10


def say(console: Console, text: str) -> None:
    """Print plain text as it is, without wrapping or colours."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


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
        self, console: Console, *, num_epochs: int, steps_per_epoch: int, epochs_done: int
    ) -> None:
        self._num_epochs = num_epochs
        self._steps_per_epoch = steps_per_epoch
        self._steps_done = epochs_done * steps_per_epoch
        self._num_steps = num_epochs * steps_per_epoch
        self._steps_run = 0
        self._timed_from = 0.0
        self._bar = Progress(
            TextColumn(f"epoch {{task.fields[epoch]}}/{num_epochs}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
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
            loss="…",
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

    def on_step(self, loss: torch.Tensor) -> None:
        """Move the bar, and once it can be told, say how long the run will take."""
        self._steps_done += 1
        self._time(loss)
        if self._bar.disable or self._steps_done % _STEPS_PER_REFRESH:
            return  # reading the loss would wait for the device
        self._bar.update(
            self._task,
            completed=self._steps_done,
            epoch=1 + (self._steps_done - 1) // self._steps_per_epoch,
            loss=f"{loss.item():.4g}",
        )

    def _time(self, loss: torch.Tensor) -> None:
        self._steps_run += 1
        if self._steps_run not in (WARM_UP_STEPS, WARM_UP_STEPS + TIMED_STEPS):
            return
        loss.item()  # wait for the device
        now = time.monotonic()
        if self._steps_run == WARM_UP_STEPS:
            self._timed_from = now
            return
        seconds = (now - self._timed_from) / TIMED_STEPS * (self._num_steps - self._steps_done)
        say(self._bar.console, f"training will take {duration(seconds)} on this machine")

    def on_epoch(self, state: TrainingState) -> None:
        """Print the epoch's line."""
        row = state.history[-1]
        say(
            self._bar.console,
            f"epoch {state.epoch}/{self._num_epochs}  loss {row['train_loss']:.4g}  "
            f"validation {row['val_loss']:.4g}, MSE {row['val_mse']:.5f} "
            f"({row['val_psnr_db']:.2f} dB)  {row['seconds']:.0f} s",
        )
