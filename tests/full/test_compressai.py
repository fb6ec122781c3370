"""Models trained with CompressAI itself, output by output.

They train for a few steps in an environment of their own, which ``prepare_environment`` makes.
"""

import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch.nn import functional

from benchmarks.peers.registry import prepare_environment
from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.codec import Codec
from kompakt_codec.gaussian_coder import GaussianEntropy
from kompakt_codec.header import Training
from kompakt_training.compressai_import import import_state, measure
from kompakt_training.compressai_names import ARCHITECTURES, FACTORIZED
from kompakt_training.compressai_state import read_state

TRAINING = Training(dataset="none", licence="none", num_images=0, epochs=0, command="none")
SCRIPT = Path(__file__).with_name("compressai_models.py")
STEPS = 120


@pytest.fixture(scope="module")
def photos():
    """Uint8 (2, 384, 640, 3): CompressAI fills no side."""
    return np.stack(load_sample_images().images)[:, 20:404]


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """By architecture: a folder with the weights, and what CompressAI makes of the photos."""
    parent = Path(sysconfig.get_path("purelib"))
    python = prepare_environment("compressai", ("compressai==1.2.8",), parent=parent)
    folder = tmp_path_factory.mktemp("compressai")
    np.save(folder / "photos.npy", photos)
    made = {}
    for architecture in ARCHITECTURES:
        out = folder / architecture
        out.mkdir()
        command = [python, "-W", "ignore", SCRIPT, architecture, "--photos", folder / "photos.npy"]
        subprocess.run([*command, "--out", out, "--steps", str(STEPS)], env={}, check=True)
        made[architecture] = out
    return made


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_output_is_compressais(trained, photos, architecture, tmp_path):
    imported = import_state(read_state(trained[architecture] / "state.pth", architecture))
    imported.checkpoint(name=architecture, training=TRAINING).save(tmp_path / "a.safetensors")
    checkpoint = Checkpoint.load(tmp_path / "a.safetensors")
    codec = Codec(checkpoint)
    theirs = np.load(trained[architecture] / "outputs.npz")

    symbols = codec.analyse(photos, [0, 0])

    medians = imported.model.get_buffer("medians").numpy()[:, None, None]
    if architecture == FACTORIZED:
        assert_rounded(symbols, theirs["y"] - medians)
    else:
        entropy = checkpoint.entropy
        assert isinstance(entropy, GaussianEntropy)
        folded, z = np.split(symbols, [16 * entropy.network.channels], axis=1)
        y = functional.pixel_shuffle(torch.from_numpy(folded), 4).numpy()
        assert_rounded(z, theirs["z"] - medians)
        np.testing.assert_allclose(z + medians, theirs["z_hat"], atol=1e-4)
        means = theirs.get("means", 0)
        assert_rounded(y, theirs["y"] - means)
        scales = entropy.network(z) / 4096
        np.testing.assert_allclose(
            np.maximum(scales, 0), np.maximum(theirs["scales"], 0), atol=0.01
        )
    pixels = codec.synthesise(symbols, [0, 0])
    expected = np.rint(theirs["x_hat"].transpose(0, 2, 3, 1) * 255)
    differs = np.abs(pixels - expected)
    assert (differs > 1).mean() < 1e-3
    assert (differs > 0).mean() < 1e-2

    loss = measure(codec, imported.rate, photos, dataset="photos")
    print(
        f"{architecture}: CompressAI estimates {float(theirs['bits']) / 8:.0f} bytes and writes "
        f"{int(theirs['string_bytes'])}, ours are {loss.payload_bits // 8}: {loss.percent:+.3f}%"
    )
    assert loss.estimated_bits == pytest.approx(float(theirs["bits"]), rel=1e-3)
    assert abs(loss.percent) < 1
    # What is rarer than one in 10**9 costs 30 bits in the estimate, and less in either's bytes.
    assert loss.payload_bits < 1.02 * 8 * int(theirs["string_bytes"])


def assert_rounded(symbols: np.ndarray, values: np.ndarray) -> None:
    """Whole numbers next to the values: the nearest, but for what lies at a half."""
    assert symbols.shape == values.shape
    assert np.abs(symbols - values).max() < 0.501
    assert (symbols != np.rint(values)).mean() < 1e-4
