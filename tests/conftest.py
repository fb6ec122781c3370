"""Shared fixtures: real digits that every machine has, and tiny checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from tests.support import make_checkpoint


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    """Scikit-learn's 8x8 digits, scaled to 28x28x1, uint8."""
    raw = (load_digits().images * (255 / 16)).astype(np.uint8)[:200]
    scaled = [np.asarray(Image.fromarray(one).resize((28, 28))) for one in raw]
    return np.stack(scaled)[..., None]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an untrained checkpoint of each architecture, for 28x28x1."""
    directory = tmp_path_factory.mktemp("checkpoints")
    for seed, architecture in enumerate(("ae", "vae")):
        make_checkpoint(architecture, seed=seed).save(
            directory / f"tiny-{architecture}.safetensors"
        )
    return directory
