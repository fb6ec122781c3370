"""``kompakt train``: what is refused, and with which words; what is loaded before."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kompakt_training.commands import bench, import_compressai, report, sample
from kompakt_training.commands import train as train_command
from kompakt_training.commands.train import main
from tests.training.helpers import (
    digits,
    train,
    write_pngs,
)


def test_other_settings_are_refused_until_told_to_start_again(capsys, folder):
    train(folder, "--out", "run")
    capsys.readouterr()

    assert train(folder, "--out", "run", "--epochs", "3") == 1
    assert capsys.readouterr().err.startswith(
        "kompakt train: run holds a run with --epochs 2, not 3: "
    )
    assert train(folder, "--out", "run", "--epochs", "3", "--no-resume") == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "required: --dataset"),
        (["--model", "gan", "--dataset", "mnist"], "invalid choice: 'gan'"),
        (["--model", "ae", "--dataset", "cifar"], "unknown dataset 'cifar'; known: mnist"),
        (["--model", "ae", "--dataset", "folder:"], "unknown dataset"),
        (["--model", "vae", "--dataset", "mnist", "--levels", "5"], "--levels is not for --model"),
        (["--model", "ae", "--dataset", "mnist", "--levels", "4"], "levels must be odd"),
        (["--model", "ae", "--dataset", "mnist", "--epochs", "0"], "epochs must be at least 1"),
        (["--model", "ae", "--dataset", "mnist", "--epochs", "x"], "invalid int value: 'x'"),
        (["--model", "ae", "--dataset", "mnist", "--batch-size", "1"], "at least 2"),
        (["--model", "ae", "--dataset", "mnist", "--learning-rate", "nan"], "in (0, 1]"),
        (["--model", "ae", "--dataset", "mnist", "--seed", "-1"], "the seed must be"),
        (["--model", "ae", "--dataset", "mnist", "--step-scale", "0"], "step scale must be"),
        (["--model", "ae", "--dataset", "mnist", "--name", "A b"], "a name is 1 to 64 of"),
        (["--model", "ae", "--dataset", "mnist", "--licence", "MIT"], "--licence is for folder:"),
        (["--model", "ae", "--dataset", "folder:x", "--data-dir", "y"], "--data-dir is for"),
        (["--model", "ae", "--dataset", "mnist", "--blocks", "1"], "--blocks is not for --model"),
        (["--model", "ae", "--dataset", "mnist", "--crop", "8"], "--crop is for folder:"),
        (["--dataset", "mnist", "--image-memory", "4"], "--image-memory is for folder:"),
        (["--dataset", "folder:x", "--image-memory", "0.01"], "must be at least 0.1 GiB"),
        (["--dataset", "folder:x", "--image-memory", "nan"], "must be at least 0.1 GiB"),
        (["--dataset", "folder:x", "--image-memory", "inf"], "0.1 GiB, and finite"),
        (["--dataset", "folder:x", "--image-memory", "1e300"], "0.1 GiB, and finite"),
        (
            ["--model", "ae", "--dataset", "folder:x", "--crop", "3"],
            "argument --crop: must be 4 to 512",
        ),
    ],
)
def test_a_usage_error_is_one_line_and_status_2(capsys, flags, words):
    assert main(flags) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("kompakt train: ")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (train_command, ["--dataset", "folder:x", "--out", ""]),
        (train_command, ["--dataset", "folder:x", "--init", ""]),
        (train_command, ["--dataset", "mnist", "--data-dir", ""]),
        (bench, ["rd", "--data", "mnist", "--models", "", "--json", "x.json"]),
        (report, ["--out", ""]),
        (report, ["--out", "x", "--ae", ""]),
        (sample, ["--model", "", "--out", "x.png"]),
        (sample, ["--model", "x", "--out", "x.png", "--between", "a.png", ""]),
        (import_compressai, ["", "--architecture", "mbt2018-mean", "--out", "x.safetensors"]),
        (
            import_compressai,
            ["x", "--architecture", "mbt2018-mean", "--out", "x.safetensors", "--calibrate", ""],
        ),
    ],
)
def test_an_empty_path_is_not_the_folder_one_is_in(capsys, command, flags):
    assert command.main(flags) == 2

    assert "must be a path, not ''" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--out", "file"], "--out: file: file is not a folder"),
        (["--out", "file/run"], "--out: file/run: file is not a folder"),
        (["--out", "kept/run"], "--out: kept/run: no folder can be made in kept"),
        (["--init", "missing"], "--init: missing: no such run or checkpoint"),
    ],
)
def test_what_cannot_work_is_told_before_the_images_are_read(
    tmp_path, monkeypatch, capsys, flags, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "kept").mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: Path(p).name != "kept" and access(p, mode))

    assert train("folder:nowhere", *flags) == 1

    assert capsys.readouterr().err == f"kompakt train: {words}\n"


def test_failures_are_one_line_and_status_1(tmp_path, capsys, folder):
    (tmp_path / "file").write_text("in the way")

    assert train("folder:nowhere") == 1
    assert capsys.readouterr().err == "kompakt train: nowhere is not a folder\n"
    assert train(folder, "--out", "file/run") == 1
    err = capsys.readouterr().err
    assert "file/run" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("train", ["--help"]),
        ("train", ["--model", "ae", "--dataset", "mnist", "--epoch", "no"]),
        ("bench", ["rd", "--help"]),
        ("report", ["--help"]),
        ("sample", ["--help"]),
        ("sample", ["--model", "vae.safetensors", "--out", "sheet.txt"]),
        ("import_compressai", ["--help"]),
    ],
)
def test_help_and_usage_errors_do_not_wait_for_pytorch(command, flags):
    imported = run_python(
        f"from kompakt_training.commands import {command}\n"
        f"status = {command}.main({flags})\n"
        f"assert status == {0 if '--help' in flags else 2}\n"
        "print(*sys.modules)"
    )

    assert "argparse" in imported
    assert not imported & {"torch", "torchvision", "numba", "matplotlib"}


def test_the_work_needs_no_torchvision_and_plots_have_no_global_state():
    imported = run_python("from kompakt_training import bench, report, train\nprint(*sys.modules)")

    assert "matplotlib" in imported
    assert not imported & {"torchvision", "matplotlib.pyplot"}


def run_python(program):
    """Words that a program printed in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_a_runs_folder_whose_name_is_no_text_is_refused_at_once(capsys, folder):
    assert train(folder, "--out", os.fsdecode(b"M\xe4rz")) == 2

    assert "argument --out: must be in UTF-8, not 'M?rz'" in capsys.readouterr().err


def test_a_class_whose_name_is_no_text_is_refused_at_once(tmp_path, capsys):
    for name in (b"a", b"M\xe4rz", b"c"):
        write_pngs(tmp_path / "classes" / os.fsdecode(name), digits(20))

    assert train("folder:classes", model="cvae") == 1

    assert capsys.readouterr().err == (
        "kompakt train: folder:classes: the name of the class 'M?rz' is not in UTF-8: rename its "
        "folder\n"
    )


def test_more_classes_than_a_model_knows_are_counted(tmp_path, capsys):
    for index, images in enumerate(np.split(digits(130), 13)):
        write_pngs(tmp_path / "mine" / str(index), images)

    flags = ["--dataset", "folder:mine", "--model", "cvae", "--out", "run"]
    assert main(flags) == 1

    assert capsys.readouterr().err == (
        "kompakt train: folder:mine has 13 classes: a cvae knows at most 12\n"
    )


def test_a_conditional_run_without_classes_says_what_it_needs(capsys, folder):
    assert train(folder, "--out", "run", model="cvae") == 1
    assert "needs one subfolder for each class" in capsys.readouterr().err


def test_a_run_goes_on_only_with_images_seen_as_before(folder, capsys):
    assert train(folder, "--out", "run", "--epochs", "1") == 0
    assert train(folder, "--out", "run", "--epochs", "1", "--mirror") == 1
    assert "another --mirror: give the same settings" in capsys.readouterr().err
    assert train(folder, "--out", "run", "--epochs", "1", "--mirror", "--no-resume") == 0


@pytest.mark.parametrize(("model", "level", "most"), [("hyperprior", 13, 12), ("ae", 1, 0)])
def test_a_default_level_that_a_model_lacks_is_refused(capsys, model, level, most):
    command = ["--dataset", "mnist", "--model", model, "--default-level", str(level)]
    assert main(command) == 2
    assert f"the default level must be 0 to {most}" in capsys.readouterr().err
