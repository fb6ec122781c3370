"""``python -m tests.golden.make NAME``: write the golden streams of a default checkpoint, once.

What is written holds every later version to decode these streams to these symbols.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_service.settings import DEFAULT_MODELS

GOLDEN = Path(__file__).parent
NUM_IMAGES = 10


def images(codec: Codec) -> np.ndarray:
    """Scikit-learn's digits in the model's shape, a flat field and noise: uint8 (N, H, W, C)."""
    spec = codec.header.spec
    small = (load_digits().images[: NUM_IMAGES - 2] * (255 / 16)).astype(np.uint8)
    size = (spec.width, spec.height)
    digits = [np.asarray(Image.fromarray(one).resize(size)) for one in small]
    noise = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width), np.uint8)
    grey = np.stack([*digits, np.zeros_like(noise), noise])
    return np.repeat(grey[..., None], spec.channels, axis=3)


def main() -> int:
    """Write tests/golden/NAME.json. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="a default checkpoint, such as mnist-ae")
    name = parser.parse_args().name
    path = GOLDEN / f"{name}.json"
    if path.exists():
        parser.error(f"{path} exists: golden streams are never changed")
    codec = Codec.load(DEFAULT_MODELS / f"{name}.safetensors")
    symbols = codec.analyse(images(codec))
    entries = [
        {
            "symbols": one.ravel().tolist(),
            **{p.value: codec.encode(one, profile=p).hex() for p in Profile},
        }
        for one in symbols
    ]
    golden = {
        "fingerprint": codec.fingerprint.hex(),
        "latent_shape": codec.header.latent_shape,
        "streams": entries,
    }
    path.write_text(json.dumps(golden, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
