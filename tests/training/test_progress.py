import io

import pytest
import torch
from rich.console import Console

from kompakt_training import progress
from kompakt_training.losses import Loss
from kompakt_training.progress import (
    TIMED_STEPS,
    WARM_UP_STEPS,
    TrainingProgress,
    duration,
    live_figures,
    reading,
    say,
    stdout_console,
)
from kompakt_training.state import TrainingState
from kompakt_training.steps import Step


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


def step(index):
    return Step(
        epoch=1,
        index=index,
        is_last=False,
        started=0,
        learning_rate=1e-3,
        loss=Loss(total=torch.tensor(1.0)),
    )


def output_of(monkeypatch, *, num_steps, epochs_done=0):
    """What is printed in so many steps of a run of 10 epochs of 100.

    A step takes 2 seconds on the clock, of the first ones each 20.
    """
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    text = io.StringIO()
    console = Console(file=text)
    with TrainingProgress(
        console, num_epochs=10, steps_per_epoch=100, epochs_done=epochs_done, pixels=64
    ) as shown:
        for index in range(num_steps):
            now += 20 if index < WARM_UP_STEPS else 2
            shown.on_step(step(index))
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


def test_the_live_line_shows_what_a_model_is_trained_for():
    row = {"epoch": 1, "step": 20, "loss": 47.123, "learning_rate": 1e-3, "images_per_second": 85.4}
    rate_distortion = {**row, "bits": 26.4, "mse": 1e-3, "bits_per_pixel": 0.4125, "psnr_db": 30.0}

    assert live_figures(row) == "loss 47.12  85 images/s"
    assert live_figures(rate_distortion) == ("loss 47.12  0.412 bpp est.  30.00 dB  85 images/s")


def test_a_terminal_shows_a_bar_with_figures_and_the_time_left():
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=160)
    with TrainingProgress(
        console, num_epochs=2, steps_per_epoch=20, epochs_done=0, pixels=64
    ) as shown:
        for index in range(20):
            shown.on_step(step(index))
        shown.on_row({"epoch": 1, "step": 20, "loss": 2.5, "images_per_second": 7.0})

    out = text.getvalue()
    assert "epoch 1/2" in out
    assert "20/40" in out
    assert "loss 2.5  7.0 images/s" in out
    assert "left" in out


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, "epoch 1/10  loss 3  validation 4, MSE 0.00100 (30.00 dB)  7 s\n"),
        (
            {"train_bits": 32.0, "train_mse": 0.01},
            "epoch 1/10  loss 3 (0.500 bpp est., 20.00 dB)  validation 4, MSE 0.00100 (30.00 dB)",
        ),
    ],
)
def test_an_epochs_line_has_rate_and_distortion_where_a_model_has_them(parts, words):
    text = io.StringIO()
    row = {"train_loss": 3.0, "val_loss": 4.0, "val_mse": 1e-3, "val_psnr_db": 30.0, "seconds": 7}
    state = TrainingState(settings={}, epoch=1, history=[{**row, **parts}])
    console = Console(file=text, width=200)

    with TrainingProgress(
        console, num_epochs=10, steps_per_epoch=20, epochs_done=0, pixels=64
    ) as shown:
        shown.on_epoch(state)

    assert text.getvalue().startswith(words)


def test_what_a_terminal_cannot_show_is_no_error():
    written = io.BytesIO()

    terminal = io.TextIOWrapper(written, "ascii", write_through=True)
    say(Console(file=terminal), "M\udce4rz …")

    assert written.getvalue() == b"M?rz ?\n"


def test_a_pipe_that_is_to_be_a_terminal_is_as_wide_as_one(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    assert stdout_console().width == 10_000
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert stdout_console().width == 100


@pytest.mark.parametrize("is_terminal", [True, False])
def test_reading_shows_a_bar_on_a_terminal(is_terminal):
    out = io.StringIO()
    track = reading(Console(file=out, force_terminal=is_terminal, width=80))

    assert list(track(range(3))) == [0, 1, 2]

    assert out.getvalue().splitlines()[0] == "reading the images …"
    assert ("100%" in out.getvalue()) == is_terminal
