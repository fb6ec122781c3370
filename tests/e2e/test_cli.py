"""The command, as scripts use it."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def kompakt(bin_directory, target):
    def run(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [bin_directory / "kompakt", *map(str, arguments), "--target", target],
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr
        if check:
            assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def folder(tmp_path, digits) -> Path:
    folder = tmp_path / "digits"
    folder.mkdir()
    for i, digit in enumerate(digits[:5]):
        Image.fromarray(digit[..., 0]).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("model", ["mnist-ae", "mnist-context", "mnist-cvae", "mnist-vae"])
def test_a_file_there_and_back(kompakt, folder, tmp_path, digits, model):
    stream, back = tmp_path / "x.kpt", tmp_path / "x.png"
    kompakt("compress", folder / "0.png", "-o", stream, "--model", model)
    kompakt("decompress", stream, "-o", back)
    assert stream.stat().st_size < 60
    with Image.open(back) as image:
        error = (np.asarray(image).astype(float) - digits[0, ..., 0]) / 255
    assert (error**2).mean() < 0.05


def test_a_directory_there_and_back(kompakt, folder, tmp_path):
    kompakt("compress", folder, "-o", tmp_path / "streams")
    kompakt("decompress", tmp_path / "streams", "-o", tmp_path / "back")
    assert {p.name for p in (tmp_path / "streams").iterdir()} == {f"{i}.kpt" for i in range(5)}
    assert {p.name for p in (tmp_path / "back").iterdir()} == {f"{i}.png" for i in range(5)}


def test_models_and_evaluate_speak_json(kompakt, folder):
    models = json.loads(kompakt("models", "--json").stdout)
    assert [m["name"] for m in models] == [
        "mnist-ae",
        "mnist-context",
        "mnist-cvae",
        "mnist-vae",
        "photos",
        "photos-hyperprior",
    ]
    assert all(len(m["fingerprint"]) == 64 for m in models)
    assert {m["architecture"] for m in models} == {"ae", "context", "cvae", "vae", "hyperprior"}
    evaluation = json.loads(kompakt("evaluate", folder, "--json").stdout)
    pooled = {(m["codec"], m["reference_model"]) for m in evaluation["pooled"]}
    assert {("mnist-ae", ""), ("zip", ""), ("webp", "mnist-vae")} <= pooled


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the stream is empty"),
        (b"foreign", "not a Kompakt file"),
        (b"\xcbKP\x20\0\0\0\0" + bytes(20), "no loaded model has the fingerprint"),
    ],
)
def test_errors_are_one_line_and_a_status(kompakt, tmp_path, content, message):
    path = tmp_path / "bad.kpt"
    path.write_bytes(content)
    done = kompakt("decompress", path, "-o", tmp_path / "bad.png", check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert not (tmp_path / "bad.png").exists()
