"""Where ``kompakt bench rd`` may write, and when."""

import os
import sys

import pytest

from kompakt_training import bench, bench_measure, bench_pictures
from kompakt_training.bench_memory import peak_memory_mib
from kompakt_training.commands.bench import main
from tests.support import make_level_checkpoint, real_digits
from tests.training.helpers import write_pngs

SUFFIXES = (".json", ".csv", ".png", ".html")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Folders images/ and models/ in the working directory, and few settings to measure."""
    write_pngs(tmp_path / "images/digits", real_digits(2))
    (tmp_path / "models").mkdir()
    make_level_checkpoint().save(tmp_path / "models/levels.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench_measure, "QUALITIES", (60,))


def run(*, data="images", out="out.json"):
    flags = ["--models", "models", "--no-timings", "--baselines", "jpeg"]
    return main(["rd", "--data", data, "--json", out, *flags])


def never(*_, **__):
    raise AssertionError("measured, only to be refused")


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("data", ["images", "folder:images", "images/digits/.."])
@pytest.mark.parametrize("out", ["images/0001.json", "images/digits/0001.json"])
def test_no_plot_takes_an_images_place_or_counts_as_one(tmp_path, capsys, data, out):
    before = contents(tmp_path)

    assert run(data=data, out=out) == 2

    assert "0001.png would lie among the images: write elsewhere" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("out", ["images/run/out.json", "images-of-mine/out.json"])
def test_folders_of_runs_and_those_beside_the_images_may_be_written_to(tmp_path, out):
    (tmp_path / "images/run").mkdir()
    (tmp_path / "images/run/training.state").write_bytes(b"a state")

    assert run(out=out) == 0

    assert (tmp_path / out).with_suffix(".png").is_file()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_in_a_files_place_is_told_before_anything_is_measured(
    tmp_path, capsys, monkeypatch, suffix
):
    (tmp_path / f"out{suffix}").mkdir()
    monkeypatch.setattr(bench, "measure", never)

    assert run() == 1

    assert capsys.readouterr().err == f"kompakt bench: out{suffix} is a directory\n"


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_measured(
    capsys, monkeypatch
):
    monkeypatch.setattr("os.access", lambda path, _: str(path) != "there")
    monkeypatch.setattr(bench, "measure", never)

    assert run(out="there/out.json") == 1

    assert capsys.readouterr().err == "kompakt bench: there cannot be written to\n"


def test_an_interrupted_benchmark_writes_nothing(tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_pictures, "nearest_not_below", interrupt)

    assert run() == 130

    assert "interrupted: nothing was written" in capsys.readouterr().err
    assert not [path for suffix in SUFFIXES for path in tmp_path.glob(f"*{suffix}")]


def test_no_module_in_the_working_directory_stands_in_for_pythons(tmp_path):
    (tmp_path / "zipfile.py").write_text("raise SystemExit(1)")

    assert peak_memory_mib(real_digits(1), codec="zip")


def test_an_interrupt_of_the_terminal_is_for_the_benchmark_alone(tmp_path, monkeypatch):
    own_group = tmp_path / "own-group"
    own_group.write_text(f"#!{sys.executable}\nimport os\nprint(1024 * os.getpgrp())\n")
    own_group.chmod(0o755)
    monkeypatch.setattr("kompakt_training.bench_memory.sys.executable", str(own_group))

    assert peak_memory_mib(real_digits(1), codec="zip") != os.getpgrp()
