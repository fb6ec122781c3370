"""The README's examples, run as they stand, but for the server's port."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def here(tmp_path, digits) -> Path:
    Image.fromarray(digits[0, ..., 0]).save(tmp_path / "digit.png")
    Image.fromarray(load_sample_images().images[1][:96, 250:378]).save(tmp_path / "cat.jpg")
    (tmp_path / "digits").mkdir()
    for i, digit in enumerate(digits[:2]):
        Image.fromarray(digit[..., 0]).save(tmp_path / "digits" / f"{i}.png")
    return tmp_path


def run(command: list[str], here: Path, bin_directory: Path, target: str) -> str:
    environment = {
        **os.environ,
        "PATH": f"{bin_directory}:{os.environ['PATH']}",
        "KOMPAKT_TARGET": target,
    }
    done = subprocess.run(
        command, cwd=here, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sdks_example(here, bin_directory, target):
    [code] = blocks("python")
    code = code.replace("localhost:50051", target)
    printed = run([sys.executable, "-c", code], here, bin_directory, target)
    assert "webp-lossless" in printed
    with Image.open(here / "back.png") as image:
        assert image.size == (28, 28)


def test_the_examples_by_hand(here, bin_directory, target):
    [code] = blocks("sh")
    code = code.replace("localhost:50051", target)
    printed = run(["bash", "-euo", "pipefail", "-c", code], here, bin_directory, target)
    assert "kompakt.v1.CompressionService/Compress" in printed
    assert '"data": "y0tQ' in printed


def test_the_commands(here, bin_directory, target):
    commands = re.findall(
        r"^    (kompakt (?:models|compress|decompress|evaluate).*)$", README, re.MULTILINE
    )
    assert len(commands) == 10
    for command in commands:
        run(["bash", "-euo", "pipefail", "-c", command], here, bin_directory, target)
    assert (here / "back.png").exists()
    assert {path.name for path in (here / "streams").iterdir()} == {"0.kpt", "1.kpt"}
