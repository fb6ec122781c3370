import csv
import time

import pytest
import torch

from kompakt_training.errors import TrainingError
from kompakt_training.losses import Loss
from kompakt_training.steps import STEPS_PER_ROW, LossMeans, Step, StepLog

STEPS = 2 * STEPS_PER_ROW + 5
"""In an epoch."""


def steps(epoch):
    """An epoch's, with losses that count up."""
    for index in range(STEPS):
        parts = {"bits": torch.tensor(32.0), "mse": torch.tensor(0.01)}
        yield Step(
            epoch=epoch,
            index=index,
            is_last=index == STEPS - 1,
            started=time.perf_counter(),
            learning_rate=1e-3 * epoch,
            loss=Loss(total=torch.tensor(float(index)), parts=parts),
        )


def write(path, epochs, *, epochs_done=0, until=STEPS, on_row=lambda _: None):
    """Log all steps of some epochs, of the last one those before ``until``."""
    log = StepLog(path, pixels=64, batch_size=8, epochs_done=epochs_done, on_row=on_row)
    for epoch in epochs:
        for step in steps(epoch):
            if epoch < max(epochs) or step.index < until:
                log.on_step(step)


def rows_of(path):
    with path.open(newline="") as file:
        return [
            {k: v for k, v in r.items() if k != "images_per_second"} for r in csv.DictReader(file)
        ]


def test_rows_are_means_over_some_steps_of_an_epoch(tmp_path):
    told = []

    write(tmp_path / "steps.csv", [1], on_row=told.append)

    rows = rows_of(tmp_path / "steps.csv")
    assert [row["step"] for row in rows] == ["20", "40", "45"]
    assert [float(row["loss"]) for row in rows] == [9.5, 29.5, 42]
    assert [row["step"] for row in told] == [20, 40, 45]
    assert rows[0].keys() == {
        *("epoch", "step", "loss", "bits", "mse", "bits_per_pixel", "psnr_db", "learning_rate")
    }
    assert float(rows[0]["bits_per_pixel"]) == 0.5
    assert float(rows[0]["psnr_db"]) == pytest.approx(20)
    assert all(row["images_per_second"] > 0 for row in told)


@pytest.mark.parametrize("until", [0, 3, 30, STEPS])
def test_a_run_that_was_stopped_goes_on_with_the_same_rows(tmp_path, until):
    write(tmp_path / "whole.csv", [1, 2, 3])

    write(tmp_path / "steps.csv", [1, 2], until=until)
    write(tmp_path / "steps.csv", [2, 3], epochs_done=1)

    assert rows_of(tmp_path / "steps.csv") == rows_of(tmp_path / "whole.csv")


def test_a_run_from_the_start_leaves_no_rows_of_another(tmp_path):
    write(tmp_path / "steps.csv", [1, 2])
    write(tmp_path / "steps.csv", [1])

    assert {row["epoch"] for row in rows_of(tmp_path / "steps.csv")} == {"1"}


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "epoch,step\nx,2\n"])
def test_another_file_of_that_name_is_an_error(tmp_path, text):
    (tmp_path / "steps.csv").write_text(text)

    with pytest.raises(TrainingError, match=r"steps\.csv: not the steps of a run"):
        write(tmp_path / "steps.csv", [1])


def test_means_are_of_the_loss_and_of_each_part():
    means = LossMeans()
    for value in (1.0, 2.0):
        means.add(Loss(total=torch.tensor(value), parts={"kl": torch.tensor(10 * value)}))

    assert means.values() == {"loss": 1.5, "kl": 15}
