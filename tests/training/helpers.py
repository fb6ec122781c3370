"""Small real images, and the files that datasets are made of."""

import gzip
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from kompakt_codec.images import FileFormat, encode_image
from kompakt_training import loop
from kompakt_training.commands.train import main
from kompakt_training.imageset import Images, ImageSet, Labels
from kompakt_training.settings import Settings

TINY = {
    "ae": {"width": 4, "latents": 6, "levels": 3},
    "vae": {"width": 4, "latents": 6},
    "cvae": {"width": 4, "latents": 6, "classes": 3},
    "context": {
        "width": 4,
        "blocks": 0,
        "latents": 6,
        "units": 2,
        "components": 2,
        "levels": 3,
        "scalar_levels": 1,
    },
    "factorized": {"width": 4, "blocks": 0, "latents": 6, "levels": 3},
    "hyperprior": {
        "width": 4,
        "blocks": 0,
        "latents": 8,
        "side": 4,
        "units": 8,
        "groups": 2,
        "spatial": 0,
        "levels": 3,
    },
}
TINY_FLAGS = {
    model: [word for key, value in config.items() for word in (f"--{key}", str(value))]
    for model, config in TINY.items()
}


# Enough for latents that say something, after two epochs on some hundred digits.
FAST = {"batch_size": 8, "learning_rate": 3e-2}
FAST_FLAGS = ["--batch-size", "8", "--learning-rate", "0.03"]
FINE_STEP = 0.2


def digits(count: int) -> Images:
    """Scikit-learn's real digits, uint8 (count, 8, 8, 1), again from the start when they end."""
    pixels = (load_digits().images * 15.9).astype(np.uint8)[..., None]
    return np.resize(pixels, (count, 8, 8, 1))


def digit_set(num_train: int = 200) -> ImageSet:
    """Digits, with their rest by three as their classes."""
    pixels = digits(num_train + 80)
    classes = np.resize(load_digits().target % 3, len(pixels)).astype(np.int64)
    bounds = [num_train, num_train + 40]
    train, val, test = np.split(pixels, bounds)
    of_train, of_val, of_test = np.split(classes, bounds)
    return ImageSet(
        name="digits",
        licence="BSD-3-Clause",
        train=train,
        val=val,
        test=test,
        labels=Labels(names=("0", "1", "2"), train=of_train, val=of_val, test=of_test),
    )


def tiny_settings(model: str, *, epochs: int = 2, seed: int = 0) -> Settings:
    return Settings.from_recipe(model, config=TINY[model], epochs=epochs, seed=seed, **FAST)


def idx_bytes(images: Images) -> bytes:
    return struct.pack(">4B3I", 0, 0, 8, 3, *images.shape[:3]) + images.tobytes()


def write_published(folder: Path, *, zipped: bool = False, num_train: int = 5100) -> None:
    """Files with MNIST's names, with the test digits of another kind than the training's."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"train": digits(num_train), "t10k": 255 - digits(30)}
    for part, images in parts.items():
        data = idx_bytes(images)
        path = folder / f"{part}-images-idx3-ubyte"
        if zipped:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(data, 1))
        else:
            path.write_bytes(data)


def write_labels(folder: Path, *, zipped: bool = False, **parts: np.ndarray) -> None:
    """Files of labels, ``train`` and ``t10k``, beside those of ``write_published``."""
    for part, labels in parts.items():
        data = struct.pack(">4BI", 0, 0, 8, 1, len(labels)) + labels.astype(np.uint8).tobytes()
        path = folder / f"{part}-labels-idx1-ubyte"
        if zipped:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(data, 1))
        else:
            path.write_bytes(data)


def write_pngs(folder: Path, images: Images) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        (folder / f"{index:04}.png").write_bytes(encode_image(image, FileFormat.PNG))


@contextmanager
def interrupted_after_an_epoch() -> Iterator[None]:
    """Ctrl-C as soon as a training has saved its state."""
    save_state = loop.save_state

    def interrupt(*args):
        save_state(*args)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "save_state", interrupt)
        yield


def train(dataset: str, *flags: str, model: str = "ae") -> int:
    """The status of ``kompakt train`` of two epochs of a tiny model."""
    fast = ["--epochs", "2", *FAST_FLAGS, *TINY_FLAGS[model]]
    return main(["--model", model, "--dataset", dataset, *fast, *flags])
