"""``python -m tests.golden.make_imported``: golden streams of imported models, written once.

No checkpoint of them ships, so tiny ones lie beside the streams. What is written holds every later
version to load these checkpoints and to decode these streams to these symbols.
"""

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_sample_images

from kompakt_codec.checkpoint import SUFFIX
from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_codec.header import Training
from kompakt_training.compressai_import import import_state
from kompakt_training.compressai_names import ARCHITECTURES
from kompakt_training.compressai_state import parse_state
from tests.training.compressai_reference import make_reference

IMPORTED = Path(__file__).parent / "imported"
_TRAINING = Training(dataset="none", licence="none", num_images=0, epochs=0, command="untrained")


def images() -> list[np.ndarray]:
    """Pieces of a photograph and noise, uint8, of three sizes."""
    photo = load_sample_images().images[0]
    noise = np.random.default_rng(0).integers(0, 256, (9, 70, 3), np.uint8)
    return [photo[60:124, 100:164], photo[200:265, 300:333], noise]


def main() -> int:
    """Write what is missing of tests/golden/imported. Returns the exit status."""
    for architecture in ARCHITECTURES:
        path = IMPORTED / f"{architecture}{SUFFIX}"
        if path.exists():
            print(f"{path.name} exists: golden streams are never changed", file=sys.stderr)
            continue
        state = make_reference(architecture, n=3, m=4).state_dict()
        imported = import_state(parse_state(state, architecture))
        imported.checkpoint(name=architecture, training=_TRAINING).save(path)
        codec = Codec.load(path)
        entries = [_entry(codec, image) for image in images()]
        golden = {"fingerprint": codec.fingerprint.hex(), "streams": entries}
        path.with_suffix(".json").write_text(json.dumps(golden) + "\n")
    return 0


def _entry(codec: Codec, image: np.ndarray) -> dict[str, object]:
    symbols = codec.analyse(image[None], [0])
    streams = {p: codec.encode(symbols, [0], image.shape[:2], profile=p)[0] for p in Profile}
    return {
        "latent_shape": symbols.shape[1:],
        "symbols": symbols.ravel().tolist(),
        **{p.value: stream.hex() for p, stream in streams.items()},
    }


if __name__ == "__main__":
    raise SystemExit(main())
