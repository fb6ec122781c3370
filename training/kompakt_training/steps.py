"""What is known of the steps as they are made, and their log."""

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from kompakt_codec.metrics import psnr_db
from kompakt_training.errors import TrainingError
from kompakt_training.losses import Loss
from kompakt_training.tables import write_csv

STEPS_PER_ROW = 20

StepRow = dict[str, int | float]
"""Means over some steps by their column in steps.csv."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step that was made. ``loss`` is detached, and of this process's images alone."""

    epoch: int
    """From 1 on."""
    index: int
    """In the epoch, from 0 on."""
    is_last: bool
    """Of the epoch."""
    started: float
    """When the epoch's first step began, by ``time.perf_counter``."""
    learning_rate: float
    loss: Loss


OnStep = Callable[[Step], None]


def ignore(_: object) -> None:
    """Do nothing: the callback of those who want none."""


class LossMeans:
    """Sums that stay on the device until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self.count = 0

    @property
    def sums(self) -> list[torch.Tensor]:
        """Of the loss and each of its parts, scalars."""
        return list(self._sums.values())

    def add(self, loss: Loss) -> None:
        """Count another step."""
        self.count += 1
        for name, value in {"loss": loss.total, **loss.parts}.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value

    def values(self) -> dict[str, float]:
        """The mean of ``loss`` and of each part by its name; waits for the device."""
        return {name: total.item() / self.count for name, total in self._sums.items()}


class StepLog:
    """``steps.csv``: a row for every 20 steps of an epoch, and for those that are left at its end.

    What an earlier run wrote of ``epochs_done`` epochs stays. ``on_row`` is told each row too.
    Losses, rates (estimated) and distortions are means, at the rate levels that training draws.
    """

    def __init__(
        self,
        path: Path,
        *,
        pixels: int,
        batch_size: int,
        epochs_done: int,
        on_row: Callable[[StepRow], None] = ignore,
    ) -> None:
        """``pixels`` of an image, and ``batch_size`` images a step in all processes."""
        self._path, self._on_row = path, on_row
        self._pixels, self._batch_size = pixels, batch_size
        self._means, self._since = LossMeans(), 0.0
        _keep(path, epochs_done)

    def on_step(self, step: Step) -> None:
        """Count a step; write a row if it is due, which waits for the device."""
        if step.index == 0:
            self._since = step.started
        self._means.add(step.loss)
        if (step.index + 1) % STEPS_PER_ROW and not step.is_last:
            return
        row = self._row(step)
        self._append(row)
        self._on_row(row)
        self._means, self._since = LossMeans(), time.perf_counter()

    def _row(self, step: Step) -> StepRow:
        means = self._means.values()
        row: StepRow = {"epoch": step.epoch, "step": step.index + 1, **means}
        if "bits" in means:
            row["bits_per_pixel"] = means["bits"] / self._pixels
            row["psnr_db"] = psnr_db(means["mse"])
        row["learning_rate"] = step.learning_rate
        seconds = time.perf_counter() - self._since
        row["images_per_second"] = float(f"{self._means.count * self._batch_size / seconds:.4g}")
        return row

    def _append(self, row: StepRow) -> None:
        is_new = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)


def _keep(path: Path, epochs: int) -> None:
    """Leave the rows of the first epochs: those after them are about to be made again."""
    if not path.exists():
        return
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= epochs]
    except (KeyError, ValueError) as exc:
        raise TrainingError(f"{path}: not the steps of a run: {exc}") from exc
    if rows:
        write_csv(path, rows)
    else:
        path.unlink()
