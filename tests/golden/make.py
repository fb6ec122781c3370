"""``python -m tests.golden.make NAME``: write the golden streams of a default checkpoint, once.

What is written holds every later version to decode these streams to these symbols.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from sklearn.datasets import load_sample_images

from kompakt_codec.codec import Codec
from kompakt_codec.frame import LEVEL_STEPS, Profile
from kompakt_service.settings import DEFAULT_MODELS
from tests.support import real_digits

GOLDEN = Path(__file__).parent


def images(codec: Codec) -> np.ndarray:
    """Real pictures, a flat field and noise that the codec accepts, uint8 (N, height, width, C).

    Digits for models of digits; for those of any size pieces of a photograph, of a size that they
    were not trained on.
    """
    real = real_digits(8)
    if not codec.sizes.is_one:
        photo = load_sample_images().images[0]
        real = np.stack([photo[60 * i : 60 * i + 20, 100:117] for i in range(5)])
        real = real[..., : codec.header.channels]
    noise = np.random.default_rng(0).integers(0, 256, real[:1].shape, np.uint8)
    return np.concatenate([real, np.zeros_like(noise), noise])


def main() -> int:
    """Write tests/golden/NAME.json. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="a default checkpoint, such as mnist-ae")
    name = parser.parse_args().name
    path = GOLDEN / f"{name}.json"
    if path.exists():
        parser.error(f"{path} exists: golden streams are never changed")
    codec = Codec.load(DEFAULT_MODELS / f"{name}.safetensors")
    pictures = images(codec)
    levels: list[float] = [i % len(codec.levels) for i in range(len(pictures))]
    if codec.levels.has_between:
        pictures = np.concatenate([pictures, pictures[:2]])
        levels += [3 + 1 / LEVEL_STEPS, len(codec.levels) - 1 - 1 / LEVEL_STEPS]
    symbols = codec.analyse(pictures, levels)
    streams = {p: codec.encode(symbols, levels, pictures.shape[1:3], profile=p) for p in Profile}
    entries = [
        {"symbols": one.ravel().tolist(), **{p.value: streams[p][i].hex() for p in Profile}}
        for i, one in enumerate(symbols)
    ]
    golden = {
        "fingerprint": codec.fingerprint.hex(),
        "latent_shape": symbols.shape[1:],
        "streams": entries,
    }
    path.write_text(json.dumps(golden, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
