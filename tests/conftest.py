"""Shared fixtures: real digits that every machine has, and tiny checkpoints."""

from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

from kompakt_training.data import load_dataset
from kompakt_training.errors import TrainingError
from tests.support import make_checkpoint, make_level_checkpoint, real_digits

hypothesis.settings.register_profile("kompakt", deadline=None)  # the first call compiles
hypothesis.settings.load_profile("kompakt")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    """Two hundred real digits, uint8 (N, 28, 28, 1)."""
    return real_digits(200)


@pytest.fixture(scope="session")
def test_digits() -> np.ndarray:
    """All 10,000 of MNIST's test digits, uint8 (10000, 28, 28, 1)."""
    try:
        return load_dataset("mnist").test
    except TrainingError as exc:
        pytest.skip(f"MNIST is not here: {exc}")


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an untrained checkpoint of each architecture, for 28x28x1."""
    directory = tmp_path_factory.mktemp("checkpoints")
    for seed, architecture in enumerate(("ae", "vae")):
        make_checkpoint(architecture, seed=seed).save(
            directory / f"tiny-{architecture}.safetensors"
        )
    return directory


@pytest.fixture(scope="session")
def level_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a context model with five rate levels, for 28x28x1."""
    path = tmp_path_factory.mktemp("levels") / "tiny-levels.safetensors"
    make_level_checkpoint().save(path)
    return path
