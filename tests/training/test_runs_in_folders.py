"""Folders of images in which trainings have left their runs."""

from functools import partial

import numpy as np
import pytest

from kompakt_training.bench_data import load_bench_images
from kompakt_training.commands.train import main
from kompakt_training.data import load_dataset
from kompakt_training.errors import TrainingError
from tests.training import helpers
from tests.training.helpers import digits, interrupted_after_an_epoch, write_pngs

PICTURES = ("loss_curves.png", "reconstructions.png")


@pytest.fixture(autouse=True)
def tiles(tmp_path, monkeypatch):
    """A folder of forty digits, which is the working directory."""
    write_pngs(tmp_path / "tiles", digits(40))
    monkeypatch.chdir(tmp_path / "tiles")
    monkeypatch.setattr("kompakt_training.run.write_html_report", lambda *_, **__: None)
    return tmp_path / "tiles"


def write_run(folder):
    """Files as a finished run leaves them, and an image more; all pictures are of one size."""
    write_pngs(folder / "more", 255 - digits(1))
    for name in PICTURES:
        (folder / name).write_bytes((folder / "more/0000.png").read_bytes())
    (folder / "history.csv").write_text("epoch\n1\n")
    (folder / "training.state").write_bytes(b"a state")


train = partial(helpers.train, "folder:.")


@pytest.mark.parametrize("path", [".", "{}", "../tiles"])
def test_runs_below_a_folder_are_no_images_of_it(tiles, path):
    alone = load_dataset("folder:.")
    write_run(tiles / "runs/a")
    write_run(tiles / "b")

    images = load_dataset(f"folder:{path.format(tiles)}")

    assert images.sha256 == alone.sha256
    assert (alone.num_runs, images.num_runs, images.num_skipped) == (0, 2, 0)


def test_a_runs_own_folder_is_left_out_where_it_lies_below(tiles):
    alone = load_dataset("folder:.")
    write_run(tiles / "runs/a")
    (tiles / "runs/a/training.state").unlink()

    own, missing, above = (
        load_dataset("folder:.", own=[tiles / path]) for path in ("runs/a", "runs/b", "..")
    )

    assert own.sha256 == alone.sha256
    assert missing.sha256 == above.sha256 != alone.sha256
    assert [images.num_runs for images in (own, missing, above)] == [1, 0, 0]


def test_without_a_model_named_its_own_folder_is_known_too(monkeypatch):
    seen = []

    def refuse(*_, own, **__):
        seen.extend(own)
        raise TrainingError("enough")

    monkeypatch.setattr("kompakt_training.train.load_dataset", refuse)

    assert main(["--dataset", "folder:."]) == 1
    assert main(["--dataset", "folder:.", "--model", "ae", "--name", "small"]) == 1
    names = {str(path) for path in seen}
    assert {"runs/tiles-context", "runs/tiles-hyperprior", "runs/small"} <= names


def test_runs_are_no_classes(tiles):
    for name in "ab":
        write_pngs(tiles / "classes" / name, digits(40))
    write_run(tiles / "classes/runs/a")

    assert load_dataset("folder:classes").labels.names == ("a", "b")


def test_of_a_folder_that_is_a_run_itself_only_its_pictures_are_left_out(tiles):
    alone = load_dataset("folder:.")
    write_run(tiles)

    images = load_dataset("folder:.")

    assert images.num_runs == 0
    assert images.num_skipped == 2
    assert len(images.train) + len(images.val) + len(images.test) == 41
    (tiles / "more/0000.png").unlink()
    assert load_dataset("folder:.").sha256 == alone.sha256


def test_too_few_images_say_that_runs_were_left_out(tiles):
    write_run(tiles / "none/a")

    with pytest.raises(TrainingError, match=r"holds 0 images \(1 folder of a run left out\): at"):
        load_dataset("folder:none")


@pytest.mark.parametrize("out", ["runs/tiles-ae", "."])
def test_a_run_in_its_own_images_is_found_finished(tiles, capsys, out):
    flags = () if out.startswith("runs") else ("--out", out)

    assert train(*flags) == 0
    assert all((tiles / out / name).exists() for name in PICTURES)
    assert "folder of a run" not in capsys.readouterr().out
    assert train(*flags) == 0
    assert "is finished" in capsys.readouterr().out


def test_a_runs_own_folder_is_left_out_from_the_start(tiles, capsys):
    write_pngs(tiles / "mine", digits(20))
    with interrupted_after_an_epoch():
        assert train("--out", "mine") == 130
    assert train("--out", "mine") == 0

    out = capsys.readouterr().out
    assert out.count("36 images to train on, 2 to validate, 2 to test, 8x8x1, 1 folder of") == 2
    assert "going on after epoch 1 of 2" in out


def test_a_benchmark_takes_no_pictures_of_runs(tiles):
    write_run(tiles / "runs/a")

    loaded = load_bench_images(".")

    np.testing.assert_array_equal(loaded.images, digits(40))
    assert loaded.notes == ["1 folder of a run left out"]
    with pytest.raises(TrainingError, match="runs holds no image: 1 folder of a run left out"):
        load_bench_images("runs")
