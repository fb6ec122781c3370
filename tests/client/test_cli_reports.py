"""`kompakt evaluate` and `kompakt models`, against the fake server."""

import csv
import dataclasses
import io
import json

from kompakt_client import ImageEvaluation, Measurement
from kompakt_client.cli import _evaluate
from tests.client.conftest import write_png


def test_evaluate_prints_a_table(run, tmp_path):
    for seed in range(3):
        write_png(tmp_path / "images" / f"{seed}.png", seed)

    status, out, err = run("evaluate", "images", "--models", "fake-ae")

    lines = [line.split() for line in out.splitlines()]
    assert (status, err) == (0, [])
    assert lines[0] == ["3", "images,", "pooled"]
    assert lines[2][:4] == ["fake-ae", "3", "50.0", "0.000"]
    assert lines[2][7:9] == ["4.00", "1.00"]
    assert lines[4][:5] == ["webp", "(as", "good", "as", "fake-ae)"]


def test_evaluate_counts_one_image(run, tmp_path):
    write_png(tmp_path / "a.png")

    assert run("evaluate", "a.png")[1].startswith("1 image, pooled")


def test_evaluate_shows_each_image_if_asked_to(run, tmp_path):
    names = [str(write_png(tmp_path / f"{seed}.png", seed)) for seed in range(2)]

    _, out, _ = run("evaluate", *names, "--baselines", "none", "--per-image")

    assert out.count(names[0]) == 2
    assert "Each image" in out


def test_a_table_shows_names_as_they_are(run, tmp_path):
    names = ["[bold]a.png", "a[", "a:smile:.png"]
    write_png(tmp_path / names[0])
    write_png(tmp_path / names[1] / "b].png")
    write_png(tmp_path / names[2])

    status, out, err = run("evaluate", *names, "--models", "fake-ae", "--per-image")

    assert (status, err) == (0, [])
    assert all(f"\n{name} " in out for name in ("[bold]a.png", "a[/b].png", "a:smile:.png"))


def test_evaluate_prints_json(run, fake, tmp_path):
    names = [write_png(tmp_path / f"{seed}.png", seed) for seed in range(20)]
    (tmp_path / "bad.png").write_bytes(b"no image")

    status, out, err = run(
        *("evaluate", *names, "bad.png", "missing.png", "--json", "--per-image"),
        *("--baselines", "zip,webp"),
    )

    document = json.loads(out)
    assert status == 1
    assert err == [
        "kompakt: missing.png: No such file or directory",
        "kompakt: bad.png: not an image",
    ]
    assert fake.calls == ["StreamEvaluate"]
    assert (document["num_images"], document["num_failed"]) == (22, 2)
    zipped = next(row for row in document["pooled"] if row["codec"] == "zip")
    assert (zipped["num_images"], zipped["bytes_per_image"]) == (20, 200.0)
    assert zipped["ratio_to_zip"] == 1.0
    model = next(row for row in document["pooled"] if row["codec"] == "fake-vae")
    assert model["ratio_to_zip"] == 4.0
    assert len(document["images"]) == 21
    assert document["images"][3]["image"] == str(names[3])
    assert document["images"][3]["measurements"][0]["psnr_db"] == 20.0
    assert document["images"][20]["reason"] == "INVALID_IMAGE"


def test_evaluate_without_per_image_prints_pooled_rows_only(run, tmp_path):
    write_png(tmp_path / "a.png")

    _, out, _ = run("evaluate", "a.png", "--json")
    _, table, _ = run("evaluate", "a.png", "--csv")

    assert set(json.loads(out)) == {"num_images", "num_failed", "pooled"}
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["codec"] for row in rows] == ["fake-ae", "fake-vae", "zip", "webp"]
    assert {row["image"] for row in rows} == {""}
    assert rows[2]["ssim"] == ""


def test_evaluate_passes_what_to_measure(run, fake, tmp_path):
    write_png(tmp_path / "a.png")

    run("evaluate", "a.png", "--models", "a,b", "--baselines", "jpeg-xl,zip", "--level", "2.5")
    run("evaluate", "a.png", "--baselines", "none")

    first, second = (request.options for request in fake.requests)
    assert list(first.models) == ["a", "b"]
    assert list(first.baselines) == [8, 1]
    assert (first.level, first.level_eighths) == (2, 4)
    assert second.skip_baselines
    assert not second.HasField("level")


def test_models_are_a_table(run):
    status, out, _ = run("models")

    lines = out.splitlines()
    assert status == 0
    assert lines[0].split() == [
        *("model", "kind", "sizes", "trained", "on", "channels", "levels"),
        *("bytes/image", "bpp", "PSNR", "dB"),
    ]
    assert lines[1].split() == [
        *("fake-ae", "(default)", "ae", "28x28", "digits", "train", "1", "2"),
        *("56.5", "0.577", "27.00"),
    ]
    assert lines[2].split() == ["fake-vae", "vae", "1x2-64x128", "3", "1"]


def test_models_are_a_list_of_objects(run):
    _, out, _ = run("models", "--json")
    _, named, _ = run("models", "fake-vae", "--json")

    models = json.loads(out)
    assert [model["name"] for model in models] == ["fake-ae", "fake-vae"]
    assert models[0]["fingerprint"] == "f1" * 32
    assert models[0]["measured"]["bytes_per_image"] == 56.5
    assert models[0]["accepted_sizes"][0]["min_height"] == 28
    assert models[1]["training"] is None
    assert models[0]["curve"][0]["mse"] == 0.01
    assert json.loads(named) == [models[1]]


def test_models_are_rows(run):
    _, out, _ = run("models", "--csv")

    first, second = csv.DictReader(io.StringIO(out))
    assert (first["name"], first["latent_shape"]) == ("fake-ae", "16x1x1")
    assert (first["measured_psnr_db"], first["training_licence"]) == ("27.0", "CC0")
    assert (first["levels"], first["curve"]) == ("2", "20.5:0.010000 56.5:0.002000")
    assert (second["accepted_sizes"], second["measured_psnr_db"]) == ("1x2-64x128", "")


def test_a_codec_that_measured_some_images_is_compared_with_zip_on_those():
    def one(codec, size):
        return Measurement(
            codec=codec,
            reference_model="",
            setting="",
            size_bytes=size,
            bits_per_pixel=1.0,
            mse=0.0,
            psnr_db=None,
            ssim=None,
            encode_seconds=0.0,
            decode_seconds=0.0,
            num_images=1,
            mean_psnr_db=None,
        )

    small = ImageEvaluation(
        index=0, measurements=(one("model", 10), one("zip", 100)), reconstructions={}
    )
    large = ImageEvaluation(index=1, measurements=(one("zip", 9000),), reconstructions={})
    pooled = [one("model", 10), dataclasses.replace(one("zip", 9100), num_images=2)]

    ratios = [row["ratio_to_zip"] for row in _evaluate._rows(pooled, [small, large])]

    assert ratios == [10.0, 1.0]
