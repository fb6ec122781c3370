"""Models of any size where trainings and benchmarks meet them."""

import json
import math

import numpy as np
import pytest
import torch

from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_codec.metrics import mse
from kompakt_codec.models import ImageSpec
from kompakt_training import bench
from kompakt_training.commands.bench import main
from kompakt_training.evaluation import evaluate_codec
from kompakt_training.html_report import write_html_report
from kompakt_training.imageset import ImageSet
from kompakt_training.train import default_model
from kompakt_training.trainer import Trainer
from tests.support import make_any_size_checkpoint, make_checkpoint, real_digits
from tests.training.helpers import digits, tiny_settings, write_pngs

CPU = torch.device("cpu")


def set_of(images):
    return ImageSet(name="tiny", licence="none", train=images, val=images, test=images)


@pytest.fixture
def models(tmp_path):
    """A folder of a grey and an RGB model of any size, trained at 16x16, and one for 28x28."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name, channels in (("any-grey", 1), ("any-rgb", 3)):
        spec = ImageSpec(height=16, width=16, channels=channels)
        checkpoint = make_any_size_checkpoint(spec=spec, name=name)
        checkpoint.save(folder / f"{name}.safetensors")
    make_checkpoint("ae").save(folder / "tiny-ae.safetensors")
    return folder


def run_bench(tmp_path, monkeypatch, images):
    write_pngs(tmp_path / "images", images)
    monkeypatch.setattr(bench, "peak_memory_mib", lambda *_, **__: None)  # a process for each
    status = main(
        ["rd", "--data", "images", "--models", "models", "--json", "out.json", "--baselines", ""]
    )
    points = json.loads((tmp_path / "out.json").read_text())["points"] if status == 0 else []
    return status, {(point["codec"], point["setting"]): point for point in points}


@pytest.mark.parametrize(
    ("images", "codecs"),
    [
        (real_digits(3), {"any-grey", "tiny-ae"}),
        (digits(3), {"any-grey"}),
        (real_digits(3)[:, :9].repeat(3, axis=3) // np.array([1, 2, 3], np.uint8), {"any-rgb"}),
    ],
    ids=["28x28", "8x8", "9x28 RGB"],
)
def test_a_bench_takes_in_who_accepts_the_images(tmp_path, monkeypatch, models, images, codecs):
    status, points = run_bench(tmp_path, monkeypatch, images)

    assert status == 0
    assert {codec for codec, _ in points} == codecs
    name = next(iter(codecs - {"tiny-ae"}))
    codec = Codec.load(models / f"{name}.safetensors")
    frames = codec.compress(list(images), profile=Profile.EMBEDDED, level=2)
    point = points[name, "level=2"]
    assert point["bytes_per_image"] == sum(map(len, frames)) / 3
    decoded = np.stack(codec.decompress(frames, profile=Profile.EMBEDDED))
    assert point["mse"] == pytest.approx(mse(images, decoded))


def test_a_bench_says_what_the_others_accept(tmp_path, monkeypatch, models, capsys):
    (models / "any-grey.safetensors").unlink()
    status, _ = run_bench(tmp_path, monkeypatch, digits(3)[:, :7])

    assert status == 1
    assert (
        "no model in models accepts images of 7x8x1: any-rgb is for images of 1x1x3 to "
        "65535x65535x3; tiny-ae is for images of 28x28x1\n"
    ) in capsys.readouterr().err


def test_evaluation_counts_the_shapes_that_frames_say():
    codec = Codec(make_any_size_checkpoint(spec=ImageSpec(height=28, width=28, channels=1)))
    images = real_digits(2)
    embedded = Profile.EMBEDDED
    own = evaluate_codec(codec, images, profile=embedded, level=1)
    other = evaluate_codec(codec, images[:, :27], profile=embedded, level=1)

    assert own.decoded.shape == images.shape
    assert other.decoded.shape == (2, 27, 28, 1)
    frames = codec.compress(list(images[:, :27]), profile=embedded, level=1)
    assert other.result.bytes_per_image == sum(map(len, frames)) / 2
    assert other.result.bits_per_pixel == 8 * other.result.bytes_per_image / (27 * 28)


def test_the_report_tells_the_range_of_sizes(tmp_path):
    codec = Codec(make_any_size_checkpoint(levels=1))
    write_html_report(tmp_path / "report.html", codec, real_digits(2)[:, :20], models=tmp_path)

    text = (tmp_path / "report.html").read_text("utf-8")
    assert "hyperprior for grey images of 1x1 to 65535x65535, trained on" in text


@pytest.mark.parametrize("model", ["factorized", "hyperprior"])
def test_images_smaller_than_a_latent_are_trained_on(model):
    small = set_of(digits(20)[:, :7])
    trainer = Trainer(tiny_settings(model), small, CPU)
    assert math.isfinite(trainer.run_epoch()["train_loss"])


def test_tiny_images_have_a_default_model_that_takes_them():
    assert default_model(ImageSpec(height=7, width=200, channels=3)) == "context"
    assert default_model(ImageSpec(height=8, width=200, channels=3)) == "hyperprior"
