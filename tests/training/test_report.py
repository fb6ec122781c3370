import csv
import io
import shutil
from contextlib import redirect_stdout

import pytest
from PIL import Image

from kompakt_training import published, recipes
from kompakt_training.commands import report
from kompakt_training.recipes import Recipe
from tests.training.helpers import FAST, TINY, write_published


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with data and a report in out/, made from the start, and what that printed."""
    root = tmp_path_factory.mktemp("report")
    write_published(root / "data", num_train=150)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        set_up(patch, root)
        assert make() == 0
    return root, printed.getvalue()


@pytest.fixture(autouse=True)
def copy(tmp_path, monkeypatch, made):
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    set_up(monkeypatch, tmp_path)


def set_up(patch, root):
    patch.chdir(root)
    patch.setenv("KOMPAKT_DATA_DIR", "data")
    patch.setattr(published, "NUM_VAL_IMAGES", 50)
    for model, config in TINY.items():
        patch.setitem(recipes.RECIPES, model, Recipe(config=config, epochs=2, **FAST))


def make(*flags):
    return report.main(["--out", "out", "--baseline-images", "7", *flags])


def read_rows(tmp_path):
    with (tmp_path / "out/comparison.csv").open(newline="") as file:
        return {row["codec"]: row for row in csv.DictReader(file)}


def test_a_report_trains_both_models_and_sets_them_beside_the_paper(tmp_path, made):
    rows = read_rows(tmp_path)
    assert list(rows) == [
        *("paper AE", "paper VAE", "mnist-ae", "mnist-vae", "DEFLATE", "ZIP"),
        "WebP as mnist-ae",
        "WebP as mnist-vae",
    ]
    assert (rows["paper AE"]["mse"], rows["paper AE"]["psnr_db"]) == ("0.0027", "25.71")
    assert (rows["paper VAE"]["mse"], rows["paper VAE"]["psnr_db"]) == ("0.0138", "18.59")
    assert rows["paper AE"]["bits_per_pixel"] == ""
    for model in ("ae", "vae"):
        ours = rows[f"mnist-{model}"]
        webp = rows[f"WebP as mnist-{model}"]
        stream = float(ours["stream_bytes_per_image"])
        assert (ours["num_images"], webp["num_images"]) == ("30", "7")
        assert float(ours["bits_per_pixel"]) == 8 * stream / 64
        assert stream < float(ours["file_bytes_per_image"]) < float(webp["file_bytes_per_image"])
    assert made[1].count("epoch 2/2") == 2
    assert "wrote out/report.md" in made[1]


def test_the_page_shows_table_pictures_and_commands(tmp_path):
    page = (tmp_path / "out/report.md").read_text()
    assert "| paper VAE | - | - | - | 0.01380 | 18.59 | - |" in page
    assert "    kompakt train --model ae --dataset mnist\n" in page
    for picture in ("digits.png", "loss_curves.png"):
        assert f"]({picture})" in page
        with Image.open(tmp_path / "out" / picture) as image:
            assert min(image.size) > 300


def test_finished_runs_are_reused_and_retrained_only_when_asked(capsys):
    make()
    assert "epoch" not in capsys.readouterr().out
    make("--retrain")
    assert capsys.readouterr().out.count("epoch 2/2") == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "interrupted: give the same command again to go on\n"),
        (
            ["--retrain"],
            "interrupted: give the same command without --retrain to go on; a model that was not "
            "yet begun again stays as it was\n",
        ),
    ],
)
def test_an_interrupted_report_says_how_to_go_on(capsys, monkeypatch, flags, words):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("kompakt_training.report.load_dataset", interrupt)

    assert make(*flags) == 130
    assert capsys.readouterr().err == f"kompakt report: {words}"


def test_a_run_of_an_older_recipe_is_not_taken_for_the_present_one(capsys, monkeypatch):
    recipe = Recipe(config=TINY["ae"], epochs=3, **FAST)
    monkeypatch.setitem(recipes.RECIPES, "ae", recipe)

    assert make() == 1
    assert "out/ae holds a run with --epochs 2, not 3" in capsys.readouterr().err


def test_checkpoints_and_runs_can_be_given(tmp_path, capsys):
    checkpoint = tmp_path / "lone.safetensors"
    (tmp_path / "out/ae/mnist-ae.safetensors").rename(checkpoint)
    (tmp_path / "out/loss_curves.png").unlink()

    assert make("--ae", str(checkpoint), "--vae", "out/vae") == 0

    assert "epoch" not in capsys.readouterr().out
    assert not (tmp_path / "out/loss_curves.png").exists()
    assert "loss curves are left out" in (tmp_path / "out/report.md").read_text()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--ae", "out/vae"], "is a vae for 8x8x1 images, where the report needs a ae for 8x8x1"),
        (["--ae", "nothing"], "nothing: not a checkpoint"),
        (["--ae", "data"], "data must hold one checkpoint; found: none"),
        (["--data-dir", "nothing"], "no MNIST files in nothing"),
    ],
)
def test_what_cannot_be_reported_is_one_line(capsys, flags, words):
    assert make(*flags) == 1

    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("number", ["0", "x"])
def test_a_usage_error_is_one_line_and_status_2(capsys, number):
    assert make("--baseline-images", number) == 2

    err = capsys.readouterr().err
    assert err.startswith("kompakt report: argument --baseline-images: ")
    assert err.count("\n") == 1


def test_a_checkpoint_that_is_not_there_is_said_before_anything_is_done(tmp_path, capsys):
    before = (tmp_path / "out/ae/mnist-ae.safetensors").read_bytes()

    assert make("--retrain", "--vae", "nothing") == 1

    assert "nothing: not a checkpoint" in capsys.readouterr().err
    assert (tmp_path / "out/ae/mnist-ae.safetensors").read_bytes() == before
    assert report.main(["--out", "new", "--ae", "nothing"]) == 1
    assert not (tmp_path / "new").exists()
