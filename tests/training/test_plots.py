"""Pictures are written whole or not at all, and curves drawn of a run's history alone."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from kompakt_training.commands.sample import main
from kompakt_training.errors import TrainingError
from kompakt_training.plots import plot_images
from kompakt_training.tables import read_history
from tests.support import make_checkpoint


@contextmanager
def small_disk() -> Iterator[None]:
    """Files grow to a kilobyte, which no picture fits in."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_plot_that_cannot_be_written_leaves_the_earlier_one(tmp_path):
    (tmp_path / "plot.png").write_bytes(b"earlier")
    rows = {"original": np.zeros((1, 4, 4, 1), np.uint8)}
    with small_disk(), pytest.raises(OSError, match="too large"):
        plot_images(tmp_path / "plot.png", rows, title="Digits")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"plot.png": b"earlier"}


def test_a_sheet_that_cannot_be_written_leaves_the_earlier_one(tmp_path, capsys):
    make_checkpoint("vae").save(tmp_path / "vae.safetensors")
    (tmp_path / "sheet.png").write_bytes(b"earlier")
    arguments = ["--model", tmp_path / "vae.safetensors", "--out", tmp_path / "sheet.png"]
    with small_disk():
        assert main([str(argument) for argument in arguments]) == 1
    assert "too large" in capsys.readouterr().err
    assert (tmp_path / "sheet.png").read_bytes() == b"earlier"
    assert {path.name for path in tmp_path.iterdir()} == {"sheet.png", "vae.safetensors"}


@pytest.mark.parametrize("text", ["", "epoch,loss\n1,0.5\n", "epoch,train_loss,val_loss\n1,0.5\n"])
def test_another_table_in_a_historys_place_is_refused(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)

    with pytest.raises(TrainingError, match=r"history.csv: not the history of a run"):
        read_history(tmp_path / "history.csv")
