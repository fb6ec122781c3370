import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from kompakt_codec.baselines import BASELINES
from kompakt_codec.codec import Codec
from kompakt_codec.errors import BaselineUnavailableError
from kompakt_codec.frame import Profile
from kompakt_codec.metrics import mse, psnr_db
from kompakt_codec.models import ImageSpec
from kompakt_training import bench, bench_measure, published
from kompakt_training.bench_data import BenchImages, load_bench_images
from kompakt_training.commands.bench import main
from kompakt_training.errors import TrainingError
from tests.support import (
    make_checkpoint,
    make_label_checkpoint,
    make_level_checkpoint,
    real_digits,
)
from tests.training.helpers import digits, write_pngs, write_published

NUM_IMAGES = 5
FILES = ("out.json", "out.csv", "out.png", "out.html")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders images/ and models/: five digits, a model of five levels, one for another size."""
    root = tmp_path_factory.mktemp("bench")
    write_pngs(root / "images", real_digits(NUM_IMAGES))
    (root / "models").mkdir()
    make_level_checkpoint().save(root / "models/levels.safetensors")
    other = make_checkpoint("ae", spec=ImageSpec(height=8, width=8, channels=1), name="small")
    other.save(root / "models/other.safetensors")
    return root


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, places):
    shutil.copytree(places, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(bench_measure, "QUALITIES", (0, 60))
    monkeypatch.setattr(bench, "peak_memory_mib", lambda *_, **__: None)


def run(*flags, data="images", models="models", out="out.json"):
    return main(["rd", "--data", data, "--models", models, "--json", out, *flags])


def read_points(path):
    points = json.loads(path.read_text())["points"]
    return {(point["codec"], point["setting"]): point for point in points}


def test_labels_are_no_rates(tmp_path, capsys):
    make_label_checkpoint().save(tmp_path / "models/labels.safetensors")

    assert run("--no-timings", "--baselines", "zip") == 0

    points = read_points(tmp_path / "out.json")
    assert [setting for codec, setting in points if codec == "tiny-labels"] == ["level=0"]
    assert "  tiny-labels, 1 rate level\n" in capsys.readouterr().out


def test_a_second_run_writes_the_same_bytes(tmp_path, capsys):
    for out in ("a/out.json", "b/out.json"):
        assert run("--no-timings", out=out) == 0

    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    content = json.loads((tmp_path / "a/out.json").read_text())
    points, codecs = content.pop("points"), content.pop("codecs")
    assert content == {
        "data": "images",
        "num_images": NUM_IMAGES,
        "image": "28x28x1",
        "profile": "embedded",
        "bd_rate_bits_per_pixel": [0.15, 1.5],
    }
    assert list(dict.fromkeys(point["codec"] for point in points)) == ["tiny-levels", *BASELINES]
    assert [p["setting"] for p in points[:5]] == [f"level={level}" for level in range(5)]
    speeds = [key for key in points[0] if key.endswith("_per_s")]
    assert len(speeds) == 4
    assert {p[key] for p in points for key in speeds} == {None}
    assert {c["peak_memory_mib"] for c in codecs} == {None}
    assert "left out: small is for images of 8x8x1\n" in capsys.readouterr().out


def test_every_figure_is_of_real_streams(tmp_path):
    run("--baselines", "webp,jpeg,png")

    points = read_points(tmp_path / "out.json")
    images = real_digits(NUM_IMAGES)
    codec = Codec.load(tmp_path / "models/levels.safetensors")
    frames = codec.compress(list(images), profile=Profile.EMBEDDED, level=3)
    webp = BASELINES["webp"]
    files = [webp.encode(image, 60, "") for image in images]
    expected = {
        ("tiny-levels", "level=3"): (frames, codec.decompress(frames, profile=Profile.EMBEDDED)),
        ("webp", "quality=60"): (files, [webp.decode(data, (28, 28, 1)) for data in files]),
    }
    for key, (streams, decoded) in expected.items():
        point = points[key]
        assert point["bytes_per_image"] == sum(map(len, streams)) / NUM_IMAGES
        assert point["bits_per_pixel"] == pytest.approx(8 * point["bytes_per_image"] / 784)
        assert point["mse"] == mse(images, np.stack(decoded)) > 0
        assert point["psnr_db"] == psnr_db(point["mse"])
        each = [psnr_db(mse(*pair)) for pair in zip(images, decoded, strict=True)]
        assert point["psnr_mean_db"] == pytest.approx(np.mean(each))
        assert point["psnr_mean_db"] > point["psnr_db"]
        assert point["bits_per_pixel_mean"] == pytest.approx(point["bits_per_pixel"])
        assert point["ms_ssim"] is None
        for way in ("encode", "decode"):
            megapixels = point[f"{way}_megapixels_per_s"]
            assert megapixels == pytest.approx(point[f"{way}_images_per_s"] * 784e-6)
            assert megapixels > 0
    assert points["jpeg", "quality=1 progressive"]["bytes_per_image"] > 0
    assert (points["png", "optimize"]["mse"], points["png", "optimize"]["psnr_db"]) == (0, None)


def test_the_csv_says_the_same_and_the_plot_is_a_picture(tmp_path):
    run("--baselines", "jpeg,zip")

    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    points = read_points(tmp_path / "out.json").values()
    texts = [{k: "" if v is None else str(v) for k, v in point.items()} for point in points]
    assert rows == texts
    with Image.open(tmp_path / "out.png") as image:
        assert min(image.size) > 300


def test_files_say_more_of_themselves_than_embedded_frames(tmp_path):
    sizes = []
    for profile in ("embedded", "file"):
        assert run("--profile", profile, "--baselines", "") == 0
        points = read_points(tmp_path / "out.json")
        sizes.append(points["tiny-levels", "level=0"]["bytes_per_image"])

    assert sizes[1] - sizes[0] == pytest.approx(10)


def test_a_codec_whose_library_is_missing_is_left_out(tmp_path, monkeypatch, capsys):
    def refuse(_):
        raise BaselineUnavailableError("JPEG XL needs a plugin")

    monkeypatch.setattr(type(BASELINES["jpeg-xl"]), "require", refuse)

    assert run("--images", "1") == 0

    assert "left out: JPEG XL needs a plugin\n" in capsys.readouterr().out
    codecs = {codec for codec, _ in read_points(tmp_path / "out.json")}
    lossless = {"zip", "deflate", "png", "webp-lossless"}
    assert codecs == {"tiny-levels"} | lossless  # all lossy ones are of one class


def spoil(folder):
    (folder / "models/levels.safetensors").write_bytes(b"no checkpoint")


def double(folder):
    models = folder / "models"
    shutil.copy(models / "levels.safetensors", models / "twin.safetensors")


def rename(folder):
    make_level_checkpoint(name="webp").save(folder / "models/mine.safetensors")


@pytest.mark.parametrize(
    ("change", "flags", "words"),
    [
        (spoil, {}, "no model in models accepts images of 28x28x1: models/levels.safetensors: not"),
        (spoil, {}, "; small is for images of 8x8x1"),
        (double, {}, "twin.safetensors: a second model named 'tiny-levels'"),
        (rename, {}, "mine.safetensors: a model named 'webp', as a classical codec is"),
        (None, {"models": "images"}, "no checkpoint (*.safetensors) in images"),
        (None, {"models": "nowhere"}, "--models: nowhere does not exist"),
        (None, {"models": "models/other.safetensors"}, "other.safetensors is not a directory"),
        (None, {"data": "nothing"}, "'nothing' is neither a directory of images nor a dataset"),
        (None, {"data": "models"}, "models holds no image: 2 files skipped, the first: levels"),
    ],
)
def test_what_cannot_be_measured_is_one_line(tmp_path, capsys, change, flags, words):
    if change:
        change(tmp_path)

    assert run(**flags) == 1

    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--json", "out.csv"], "argument --json: must end in .json"),
        (["--images", "0"], "argument --images: must be at least 1, not 0"),
        (["--crop", "3"], "argument --crop: must be 4 to 512 pixels, not 3"),
        (["--baselines", "jpeg,gif"], "argument --baselines: no codec 'gif': choose from zip,"),
        (["--published", "clic"], "argument --published: "),
        (["--profile", "zip"], "argument --profile: "),
        (["--data", "mnist", "--crop", "8"], "--crop is for folders"),
        (["--data-dir", "images"], "--data-dir is for the published sets"),
    ],
)
def test_a_usage_error_is_one_line_and_status_2(capsys, flags, words):
    assert run(*flags) == 2

    err = capsys.readouterr().err
    assert err.startswith(f"kompakt bench rd: {words}")
    assert err.count("\n") == 1


def test_of_datasets_the_test_part_is_taken(tmp_path, monkeypatch):
    write_published(tmp_path / "data", num_train=60)
    monkeypatch.setattr(published, "NUM_VAL_IMAGES", 10)
    write_pngs(tmp_path / "mine", digits(40))

    mnist = load_bench_images("mnist", tmp_path / "data")
    mine = load_bench_images(f"folder:{tmp_path / 'mine'}")

    np.testing.assert_array_equal(mnist.images, 255 - digits(30))
    assert (mnist.name, mnist.size) == ("mnist", "8x8x1")
    assert (mine.name, len(mine.images)) == ("folder:mine", 2)


def test_of_a_directory_all_images_are_taken_or_a_fixed_sample(tmp_path):
    write_pngs(tmp_path / "mine", digits(40))
    (tmp_path / "mine/notes.txt").write_text("no image")

    everything = load_bench_images("mine")
    sample, again = (load_bench_images("mine", max_images=7).images for _ in range(2))

    np.testing.assert_array_equal(everything.images, digits(40))
    [note] = everything.notes
    assert note.startswith("1 files skipped, the first: notes.txt: not an image")
    assert len(sample) == 7
    np.testing.assert_array_equal(sample, again)


def test_images_that_are_too_many_are_told_that_no_flag_helps(tmp_path, monkeypatch):
    monkeypatch.setattr("kompakt_training.bench_data.MAX_FOLDER_BYTES", 7 * 64)
    write_pngs(tmp_path / "mine", digits(8))

    with pytest.raises(TrainingError, match="mine take over 448 bytes: take a folder of fewer"):
        load_bench_images("mine", max_images=2)


def test_images_of_several_sizes_are_cut_only_when_asked(tmp_path):
    write_pngs(tmp_path / "mine/a", np.zeros((2, 40, 50, 1), np.uint8))
    write_pngs(tmp_path / "mine/b", np.full((1, 16, 16, 3), 9, np.uint8))

    with pytest.raises(TrainingError, match="no image is as large as 64x64"):
        load_bench_images("mine", crop=64)
    whole = load_bench_images("mine")
    tiles = load_bench_images("mine", crop=16)

    assert [image.shape for image in whole.images] == [(40, 50, 3), (40, 50, 3), (16, 16, 3)]
    assert whole.size == "16x16x3, 40x50x3"
    assert [image.shape for image in tiles.images] == [(16, 16, 3)] * (2 * 6 + 1)
    assert (tiles.images[-1] == 9).all()


def test_of_more_images_than_tiles_those_too_small_give_none(tmp_path, monkeypatch):
    monkeypatch.setattr("kompakt_training.bench_data.MAX_TILES", 2)
    write_pngs(tmp_path / "mine/a", digits(1)[:, :4])
    write_pngs(tmp_path / "mine/b", digits(3))

    loaded = load_bench_images("mine", crop=8)

    assert np.array_equal(loaded.images, digits(2))


def test_of_many_sizes_the_ends_are_named():
    shapes = [(30, 20, 1), (20, 30, 1), (9, 9, 1), (100, 2, 1), (9, 9, 1)]
    data = BenchImages(name="mine", images=[np.zeros(shape, np.uint8) for shape in shapes])

    assert data.size == "4 sizes from 9x9x1 to 30x20x1"
