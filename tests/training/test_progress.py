import io

import pytest
import torch
from rich.console import Console

from kompakt_training import progress
from kompakt_training.progress import TIMED_STEPS, WARM_UP_STEPS, TrainingProgress, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "a few seconds"),
        (10, "about 10 seconds"),
        (99, "about 99 seconds"),
        (100, "about 2 minutes"),
        (2520, "about 42 minutes"),
        (9000, "about 2.5 hours"),
    ],
)
def test_durations_are_told_as_people_do(seconds, text):
    assert duration(seconds) == text


def output_of(monkeypatch, *, num_steps, epochs_done=0):
    """What is printed in so many steps of a run of 10 epochs of 100.

    A step takes 2 seconds on the clock, of the first ones each 20.
    """
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    text = io.StringIO()
    console = Console(file=text)
    with TrainingProgress(
        console, num_epochs=10, steps_per_epoch=100, epochs_done=epochs_done
    ) as shown:
        for step in range(num_steps):
            now += 20 if step < WARM_UP_STEPS else 2
            shown.on_step(torch.tensor(1.0))
    return text.getvalue()


def test_a_run_says_once_how_long_all_that_is_left_will_take(monkeypatch):
    steps = WARM_UP_STEPS + TIMED_STEPS

    assert output_of(monkeypatch, num_steps=steps - 1) == ""
    assert output_of(monkeypatch, num_steps=steps + 50) == (
        "training will take about 32 minutes on this machine\n"
    )
    assert output_of(monkeypatch, num_steps=steps, epochs_done=9) == (
        "training will take about 2 minutes on this machine\n"
    )
