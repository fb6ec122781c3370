"""``kompakt train``: what a run leaves, and how it goes on."""

import csv
import os

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.codec import Codec
from kompakt_codec.models import ImageSpec
from kompakt_training.commands.train import main
from kompakt_training.settings import ExportSettings, Settings, command_line
from kompakt_training.train import default_model
from tests.training.helpers import (
    FAST_FLAGS,
    TINY,
    TINY_FLAGS,
    digits,
    interrupted_after_an_epoch,
    train,
    write_pngs,
    write_published,
)

ARTEFACTS = [
    "history.csv",
    "loss_curves.png",
    "reconstructions.png",
    "report.html",
    "results.csv",
    "steps.csv",
]


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("model", "parts"), [("ae", []), ("vae", ["train_bce", "train_kl"])], ids=["ae", "vae"]
)
def test_a_run_leaves_all_its_files(tmp_path, capsys, folder, model, parts):
    assert train(folder, "--out", "run", model=model) == 0

    run = tmp_path / "run"
    checkpoint = f"my-digits-{model}.safetensors"
    assert sorted(p.name for p in run.iterdir()) == sorted(
        [*ARTEFACTS, checkpoint, "training.state"]
    )
    history = read_csv(run / "history.csv")
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert list(history[0]) == [
        *("epoch", "train_loss", *parts, "val_loss", "val_mse", "val_psnr_db"),
        *("learning_rate", "seconds"),
    ]
    for name in ("loss_curves.png", "reconstructions.png"):
        with Image.open(run / name) as image:
            assert min(image.size) > 200
    out, err = capsys.readouterr()
    assert err == ""
    assert "epoch 2/2" in out
    assert f"wrote run/{checkpoint}, and what it is worth: run/report.html\n" in out
    assert out.endswith("serve it with: kompakt serve --models run\n")
    page = (run / "report.html").read_text("utf-8")
    assert f"<title>my-digits-{model}</title>" in page
    assert "kompakt serve --models run</pre>" in page


def test_results_are_those_of_real_bytes(tmp_path, folder):
    train(folder, "--out", "run")

    results = read_csv(tmp_path / "run/results.csv")
    measured = Checkpoint.load(tmp_path / "run/my-digits-ae.safetensors").header.measured
    embedded, file, archive, deflate = results

    names = ["my-digits-ae (embedded)", "my-digits-ae (file)", "zip", "deflate"]
    assert [row["codec"] for row in results] == names
    assert float(embedded["bytes_per_image"]) == measured.bytes_per_image
    assert float(embedded["mse"]) == float(file["mse"]) == measured.mse
    assert float(file["bytes_per_image"]) > float(embedded["bytes_per_image"])
    assert float(archive["bytes_per_image"]) > float(deflate["bytes_per_image"])
    assert float(archive["ratio_to_zip"]) == 1
    assert {row["images"] for row in results} == {"6"}
    assert list(embedded) == [
        *("codec", "images", "bytes_per_image", "bits_per_pixel", "mse", "psnr_db"),
        "ratio_to_zip",
    ]


def test_published_sets_are_trained_by_their_names(tmp_path):
    write_published(tmp_path / "data")

    assert train("mnist", "--data-dir", "data", "--epochs", "1", "--seed", "3") == 0

    training = Checkpoint.load(tmp_path / "runs/mnist-ae/mnist-ae.safetensors").header.training
    assert training.command == (
        "kompakt train --model ae --dataset mnist "
        "--width 4 --latents 6 --levels 3 --epochs 1 --batch-size 8 --learning-rate 0.03 --seed 3"
    )
    assert (training.dataset, training.licence, training.num_images) == (
        "mnist",
        "CC BY-SA 3.0",
        100,
    )


def test_the_command_of_a_folder_names_no_path(tmp_path, folder):
    flags = ["--name", "a", "--licence", "CC BY 4.0", "--step-scale", "0.5"]
    flags += ["--image-memory", "0.5"]
    train(folder, "--out", "run", *flags, model="vae")

    command = Checkpoint.load(tmp_path / "run/a.safetensors").header.training.command

    assert command.startswith(
        "kompakt train --model vae --dataset 'folder:My Digits' --image-memory 0.5 "
    )
    assert command.endswith(" --name a --step-scale 0.5 --licence 'CC BY 4.0'")
    assert str(tmp_path) not in command


def test_rgb_images_make_an_rgb_codec(tmp_path):
    write_pngs(tmp_path / "rgb", np.repeat(digits(40), 3, axis=3) // np.array([1, 2, 3], np.uint8))

    assert train(f"folder:{tmp_path / 'rgb'}") == 0
    assert Checkpoint.load(tmp_path / "runs/rgb-ae/rgb-ae.safetensors").header.channels == 3


def test_the_model_is_by_the_images_size_where_none_is_named(tmp_path, folder):
    flags = ["--epochs", "1", "--width", "4", "--blocks", "0", "--latents", "4", "--units", "4"]

    assert main(["--dataset", folder, *FAST_FLAGS, *flags, "--levels", "3"]) == 0

    run = tmp_path / "runs/my-digits-context/my-digits-context.safetensors"
    command = Checkpoint.load(run).header.training.command
    assert command.startswith("kompakt train --model context --dataset 'folder:My Digits' ")
    assert default_model(ImageSpec(height=32, width=28, channels=1)) == "context"
    assert default_model(ImageSpec(height=32, width=33, channels=1)) == "hyperprior"
    assert default_model(ImageSpec(height=28, width=28, channels=3)) == "hyperprior"


def test_grey_images_that_are_cut_get_a_model_for_all_their_sizes(tmp_path):
    write_pngs(tmp_path / "scans" / "a", digits(20))
    write_pngs(tmp_path / "scans" / "b", np.tile(digits(10), (1, 2, 3, 1)))
    flags = ["--epochs", "1", *FAST_FLAGS, *TINY_FLAGS["hyperprior"]]

    assert main(["--dataset", "folder:scans", *flags]) == 0

    run = tmp_path / "runs/scans-hyperprior/scans-hyperprior.safetensors"
    assert (16, 24) in Codec.load(run).sizes
    assert default_model(ImageSpec(height=7, width=7, channels=1), is_cut=True) == "context"


def test_photographs_of_several_sizes_are_cut_and_the_command_says_how(tmp_path, capsys):
    photo = load_sample_images().images[0]
    for width in range(40, 60):
        crop = photo[None, width : width + 33, 200 : 200 + width]
        write_pngs(tmp_path / "photos" / str(width), crop)

    assert train(f"folder:{tmp_path / 'photos'}") == 0

    out = capsys.readouterr().out
    assert "they are cut into tiles of 32x32; --crop N chooses another side" in out
    assert "folder:photos: 20 images cut into tiles: 18 to train on, 1 to validate, 1 to" in out
    header = Checkpoint.load(tmp_path / "runs/photos-ae/photos-ae.safetensors").header
    assert (header.height, header.width, header.channels) == (32, 32, 3)
    assert " --dataset folder:photos --crop 32 " in header.training.command

    assert train(f"folder:{tmp_path / 'photos'}", "--crop", "32") == 0
    assert "is finished" in capsys.readouterr().out
    assert train(f"folder:{tmp_path / 'photos'}", "--crop", "16") == 1
    assert "holds a run with other images" in capsys.readouterr().err


def test_an_interrupted_run_says_how_to_go_on_and_does(tmp_path, capsys, folder):
    whole = tmp_path / "whole/my-digits-ae.safetensors"
    train(folder, "--out", "whole")
    capsys.readouterr()
    with interrupted_after_an_epoch():
        assert train(folder, "--out", "run") == 130
    assert capsys.readouterr().err == (
        "kompakt train: interrupted: give the same command again to go on after the last whole "
        "epoch\n"
    )

    assert train(folder, "--out", "run") == 0
    assert "going on after epoch 1 of 2" in capsys.readouterr().out
    assert (tmp_path / "run/my-digits-ae.safetensors").read_bytes() == whole.read_bytes()


def test_a_finished_run_says_so_and_does_nothing(tmp_path, capsys, folder):
    train(folder, "--out", "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}

    assert train(folder, "--out", "run") == 0

    assert "is finished; start again with --no-resume" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()} == before


def test_a_finished_run_is_exported_again_with_another_step(tmp_path, capsys, folder):
    train(folder, "--out", "run", "--name", "fine", "--step-scale", "0.1", model="vae")
    trained = (tmp_path / "run/training.state").read_bytes()
    capsys.readouterr()

    flags = ("--name", "coarse")
    assert train(folder, "--out", "run", *flags, model="vae") == 0

    assert (tmp_path / "run/training.state").read_bytes() == trained
    fine, coarse = (
        Checkpoint.load(tmp_path / f"run/{name}.safetensors").header.measured
        for name in ("fine", "coarse")
    )
    assert coarse.bytes_per_image < fine.bytes_per_image
    assert "epoch" not in capsys.readouterr().out


def test_a_conditional_run_learns_its_folders_classes(tmp_path, capsys):
    for name, images in zip("abc", np.split(digits(120), 3), strict=True):
        write_pngs(tmp_path / "mine" / name, images)
    dataset = f"folder:{tmp_path / 'mine'}"
    flags = ["--epochs", "2", *FAST_FLAGS, "--width", "4", "--latents", "6", "--out", "run"]

    assert main(["--model", "cvae", "--dataset", dataset, *flags]) == 0

    out = capsys.readouterr().out
    assert "test images with their label: " in out
    header = Checkpoint.load(tmp_path / "run/mine-cvae.safetensors").header
    assert header.labels == ("a", "b", "c")
    assert (header.levels, header.default_level, len(header.curve)) == (4, 0, 4)
    assert sum(point.num_images for point in header.curve[1:]) == header.curve[0].num_images
    assert "--classes 3" in header.training.command


def test_folders_may_have_names_that_are_no_text(tmp_path):
    name = os.fsdecode(b"M\xe4rz")
    write_pngs(tmp_path / name, digits(40))

    assert train(f"folder:{name}", "--out", "run", "--licence", name) == 0

    [path] = (tmp_path / "run").glob("*.safetensors")
    training = Checkpoint.load(path).header.training
    assert (training.dataset, training.licence) == ("folder:M?rz", "M?rz")
    assert "--dataset 'folder:M?rz'" in training.command


def test_a_hyperprior_run_serves_other_sizes(tmp_path, folder):
    assert train(folder, "--out", "run", model="hyperprior") == 0
    codec = Codec.load(tmp_path / "run/my-digits-hyperprior.safetensors")
    image = digits(4).reshape(16, 16, 1)
    [back] = codec.decompress(codec.compress([image], level=2))
    assert back.shape == image.shape


@pytest.mark.parametrize(
    ("mirror", "crop", "word"),
    [(True, 8, ""), (False, 8, "--no-mirror"), (True, None, "--mirror"), (False, None, "")],
)
def test_the_command_says_how_images_are_seen_where_it_is_unusual(mirror, crop, word):
    settings = Settings.from_recipe("ae", mirror=mirror)
    line = command_line(settings, ExportSettings(name="mine-ae"), dataset="folder:mine", crop=crop)
    assert [w for w in line.split() if "mirror" in w] == [word] * bool(word)


def test_a_default_level_of_ones_own_is_kept_and_recorded(tmp_path, monkeypatch):
    write_pngs(tmp_path / "digits", digits(60))
    monkeypatch.chdir(tmp_path)
    command = ["--dataset", "folder:digits", "--out", "run", "--epochs", "1", "--model"]
    tiny = [f"--{name}={value}" for name, value in TINY["hyperprior"].items() if name != "levels"]

    assert main([*command, "hyperprior", *tiny, "--default-level", "11"]) == 0
    [path] = (tmp_path / "run").glob("*.safetensors")
    header = Checkpoint.load(path).header

    assert header.default_level == 11
    assert header.measured == header.curve[11]
    assert "--default-level 11" in header.training.command
