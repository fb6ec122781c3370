"""Builders that several test modules share."""

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from kompakt_codec.checkpoint import Checkpoint, Training
from kompakt_codec.entropy import EntropyTables, frequencies_from_counts
from kompakt_codec.models import ImageSpec, build_model

DIGIT = ImageSpec(height=28, width=28, channels=1)


def real_digits(count: int) -> np.ndarray:
    """Scikit-learn's 8x8 digits, placed as MNIST's: 20x20 in the middle of 28x28x1, uint8."""
    small = (load_digits().images[:count] * (255 / 16)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(one).resize((20, 20))) for one in small]
    return np.pad(np.stack(large), ((0, 0), (4, 4), (4, 4)))[..., None]


def make_checkpoint(
    architecture: str, *, seed: int = 0, spec: ImageSpec = DIGIT, name: str | None = None
) -> Checkpoint:
    """An untrained model with bell-shaped tables: everything works, nothing looks good."""
    torch.manual_seed(seed)
    config = {"width": 4, "latents": 12}
    model = build_model(architecture, spec, config).eval()
    rng = np.random.default_rng(seed)
    counts = [rng.integers(1, 1000, 5) for _ in range(12)]
    tables = EntropyTables(
        shape=model.latent_shape,
        minimums=[-2] * 12,
        frequencies=[frequencies_from_counts(c) for c in counts],
    )
    return Checkpoint.create(
        name=name or f"tiny-{architecture}",
        architecture=architecture,
        config=config,
        spec=spec,
        model=model,
        tables=tables,
        training=Training(
            dataset="nothing", licence="none", num_images=1, epochs=1, command="untrained"
        ),
    )
