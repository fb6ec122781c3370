"""``--no-resume``: nothing goes before all is checked, and what is told of going on is so."""

from functools import partial

import pytest

from kompakt_training import run_files
from tests.support import make_checkpoint
from tests.training import helpers
from tests.training.helpers import digits, interrupted_after_an_epoch, write_pngs

CHECKPOINT = "my-digits-ae.safetensors"


@pytest.fixture(autouse=True)
def my_digits(tmp_path, monkeypatch):
    write_pngs(tmp_path / "My Digits", digits(60))
    monkeypatch.setattr("kompakt_training.run.write_html_report", lambda *_, **__: None)


train = partial(helpers.train, "folder:My Digits")


def write_run(folder, steps="epoch,step\n1,20\n"):
    """What a run of another recipe might have left; the files' bytes by their names."""
    folder.mkdir()
    (folder / CHECKPOINT).write_bytes(b"weights of an hour")
    (folder / "training.state").write_bytes(b"state of an hour")
    (folder / "steps.csv").write_text(steps)
    return bytes_of(folder)


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_start_of_another_size_is_refused_before_anything_goes(tmp_path, capsys):
    before = write_run(tmp_path / "run")
    make_checkpoint("ae").save(tmp_path / "other.safetensors")

    assert train("--out", "run", "--no-resume", "--init", "other.safetensors") == 1

    assert "--init: that run is of another model or size" in capsys.readouterr().err
    assert bytes_of(tmp_path / "run") == before


def test_a_damaged_start_is_no_reason_to_start_again(tmp_path, capsys):
    before = write_run(tmp_path / "run")

    assert train("--out", "mine", "--init", "run") == 1

    err = capsys.readouterr().err
    assert err.startswith("kompakt train: --init: run/training.state is not a training state (")
    assert "--no-resume" not in err
    assert train("--out", "run") == 1
    assert capsys.readouterr().err.endswith(
        "): start again (train --no-resume, report --retrain)\n"
    )
    assert bytes_of(tmp_path / "run") == before


def test_images_without_labels_are_refused_before_anything_goes(tmp_path, capsys):
    before = write_run(tmp_path / "run")

    assert train("--out", "run", "--no-resume", model="cvae") == 1

    assert "has no labels" in capsys.readouterr().err
    assert bytes_of(tmp_path / "run") == before


def test_a_log_that_is_not_the_runs_is_refused_before_anything_goes(tmp_path, capsys):
    before = write_run(tmp_path / "run", steps="name,size\na,2\n")

    assert train("--out", "run", "--no-resume") == 1

    assert "steps.csv: not the steps of a run" in capsys.readouterr().err
    assert bytes_of(tmp_path / "run") == before


@pytest.mark.parametrize("flags", [[], ["--no-resume"]])
def test_a_folder_that_another_run_trains_in_is_left_to_it(tmp_path, capsys, flags):
    with interrupted_after_an_epoch():
        train("--out", "run")
    before = bytes_of(tmp_path / "run")
    capsys.readouterr()

    with run_files.held(tmp_path / "run"):
        assert train("--out", "run", *flags) == 1

    assert capsys.readouterr().err == (
        "kompakt train: another training is under way in run: wait for its end, or give another "
        "--out\n"
    )
    assert bytes_of(tmp_path / "run") == before
    assert train("--out", "run") == 0


def test_a_refused_command_leaves_no_folder(tmp_path, capsys):
    assert train(model="cvae") == 1

    assert "has no labels" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_interrupted_it_goes_on_without_the_flag(tmp_path, capsys):
    assert train("--out", "run") == 0
    whole = (tmp_path / "run" / CHECKPOINT).read_bytes()
    with interrupted_after_an_epoch():
        assert train("--out", "run", "--no-resume") == 130
    out, err = capsys.readouterr()
    assert "epoch 2/2" in out
    assert err == (
        "kompakt train: interrupted: give the same command without --no-resume to go on after the "
        "last whole epoch\n"
    )

    assert train("--out", "run") == 0

    assert "going on after epoch 1 of 2" in capsys.readouterr().out
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == whole


@pytest.mark.parametrize("flags", [[], ["--resume"], ["--no-resume", "--resume"]])
def test_without_the_flag_the_same_command_goes_on(capsys, monkeypatch, flags):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("kompakt_training.train.load_dataset", interrupt)

    assert train(*flags) == 130
    assert "interrupted: give the same command again to go on" in capsys.readouterr().err
