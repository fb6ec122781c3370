"""What a person sees of a training: a line an epoch, and on a terminal a bar."""

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

_STEPS_PER_REFRESH = 10


def say(console: Console, text: str) -> None:
    """Print plain text as it is, without wrapping or colours."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


class TrainingProgress:
    """A context manager whose methods are the callbacks of ``fit``."""

    def __init__(
        self, console: Console, *, num_epochs: int, steps_per_epoch: int, epochs_done: int
    ) -> None:
        self._num_epochs = num_epochs
        self._steps_per_epoch = steps_per_epoch
        self._steps_done = epochs_done * steps_per_epoch
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
            total=num_epochs * steps_per_epoch,
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
        """Move the bar."""
        self._steps_done += 1
        if self._bar.disable or self._steps_done % _STEPS_PER_REFRESH:
            return  # reading the loss would wait for the device
        self._bar.update(
            self._task,
            completed=self._steps_done,
            epoch=1 + (self._steps_done - 1) // self._steps_per_epoch,
            loss=f"{loss.item():.4g}",
        )

    def on_epoch(self, state: TrainingState) -> None:
        """Print the epoch's line."""
        row = state.history[-1]
        say(
            self._bar.console,
            f"epoch {state.epoch}/{self._num_epochs}  loss {row['train_loss']:.4g}  "
            f"validation {row['val_loss']:.4g}, MSE {row['val_mse']:.5f} "
            f"({row['val_psnr_db']:.2f} dB)  {row['seconds']:.0f} s",
        )
