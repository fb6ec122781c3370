"""``kompakt sample``: images from a prior and walks between images."""

import numpy as np
import pytest

from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.images import FileFormat, decode_image, encode_image
from kompakt_training import sample
from kompakt_training.commands.sample import main
from kompakt_training.errors import TrainingError
from tests.support import make_checkpoint, make_label_checkpoint, real_digits


@pytest.fixture(scope="module")
def vae() -> Checkpoint:
    return make_checkpoint("vae")


def test_a_seed_draws_the_same_images_and_another_others(vae):
    first, again, other = (sample.draw(vae, count=6, seed=s) for s in (1, 1, 2))
    assert first.shape == (6, 28, 28, 1)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_walk_begins_and_ends_at_its_images_latents(vae):
    a, b = real_digits(2)
    walk = sample.interpolate(vae, a, b, count=5)
    assert walk.shape == (5, 28, 28, 1)
    assert np.array_equal(walk[0], sample.interpolate(vae, a, a, count=2)[0])
    assert np.array_equal(walk[-1], sample.interpolate(vae, b, b, count=2)[0])
    back = sample.interpolate(vae, b, a, count=5)
    assert np.abs(walk.astype(int) - back[::-1]).max() <= 1


def test_a_label_changes_what_a_conditional_model_draws():
    cvae = make_label_checkpoint()
    plain, labelled = (sample.draw(cvae, count=3, seed=0, level=level) for level in (0, 2))
    assert not np.array_equal(plain, labelled)


def test_a_model_without_a_prior_to_draw_from_is_refused():
    checkpoint = make_checkpoint("ae")
    with pytest.raises(TrainingError, match="only vae"):
        sample.draw(checkpoint, count=1, seed=0)


def test_a_sheet_holds_every_image_in_its_place():
    images = np.arange(5, dtype=np.uint8).repeat(6).reshape(5, 2, 3, 1)
    made = sample.sheet(images, 2)
    assert made.shape == (3 * 2 + 2 * 2, 2 * 3 + 2, 1)
    assert [int(made[r, c, 0]) for r, c in ((0, 0), (0, 5), (4, 0), (4, 5), (8, 0))] == [*range(5)]
    assert (made[2:4] == 255).all()


def test_the_command_writes_one_png(vae, tmp_path, capsys):
    vae.save(tmp_path / "vae.safetensors")
    files = []
    for index, digit in enumerate(real_digits(2)):
        files.append(tmp_path / f"{index}.png")
        files[-1].write_bytes(encode_image(digit, FileFormat.PNG))
    out = tmp_path / "out.png"
    common = ["--model", str(tmp_path / "vae.safetensors"), "--out", str(out), "--columns", "4"]

    assert main([*common, "--count", "7"]) == 0
    assert decode_image(out.read_bytes()).shape == (58, 118, 1)
    assert main([*common, "--count", "4", "--between", *map(str, files)]) == 0
    assert decode_image(out.read_bytes()).shape == (28, 118, 1)
    assert "wrote 4 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--count", "0"], 2, "--count must be 1 to 1024"),
        (["--label", "7"], 2, "knows no labels"),
        (["--count", "1", "--between", "a.png", "b.png"], 2, "--count of 2"),
        (["--between", "missing.png", "missing.png"], 1, "missing.png"),
        (["--out", "x.txt"], 2, "argument --out: must end in .png, as the sheet is a PNG"),
        (["--out", "png"], 2, "argument --out: must end in .png"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(vae, tmp_path, capsys, arguments, status, words):
    path = tmp_path / "vae.safetensors"
    vae.save(path)
    assert main(["--model", str(path), "--out", str(tmp_path / "x.png"), *arguments]) == status
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
