"""The images of the benchmarks: real digits of 28x28."""

import gzip
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

Digits = npt.NDArray[np.uint8]

_MNIST = "mnist/t10k-images-idx3-ubyte.gz"
_HEADER_BYTES = 16


def load_digits(count: int) -> tuple[Digits, str]:
    """Digits (count, 28, 28, 1) and where they are from.

    MNIST's test images from ``KOMPAKT_DATA_DIR``, else those that come with scikit-learn, enlarged.
    They start again where there are fewer than ``count``.
    """
    directory = os.environ.get("KOMPAKT_DATA_DIR", "")
    path = Path(directory) / _MNIST
    digits, source = (_mnist(path), "MNIST") if path.is_file() else (_sklearn(), "scikit-learn")
    return np.resize(digits, (count, *digits.shape[1:])), source


def _mnist(path: Path) -> Digits:
    data = gzip.decompress(path.read_bytes())
    return np.frombuffer(data, np.uint8, offset=_HEADER_BYTES).reshape(-1, 28, 28, 1)


def _sklearn() -> Digits:
    from PIL import Image
    from sklearn.datasets import load_digits as load

    small = (load().images * (255 / 16)).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((28, 28))) for one in small])[..., None]
