"""Streams to carry to another machine or another version of PyTorch, and back.

python -m tests.full.streams write FILE     make 10,000 streams of each default model
python -m tests.full.streams check FILE     decode them here: exit status 0 if all agree
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from kompakt_codec.codec import Codec
from kompakt_codec.entropy import Symbols
from kompakt_codec.errors import StreamError
from kompakt_codec.frame import Profile, parse_frame
from kompakt_codec.images import Pixels
from kompakt_service.settings import DEFAULT_MODELS
from tests.support import real_digits


def make_streams(codec: Codec, images: Pixels) -> tuple[list[bytes], list[Symbols]]:
    """A file of each of the images it accepts, at its levels in turn, and the symbols in it."""
    spec = codec.header.spec
    fitting = images if spec.channels == 1 else images.repeat(3, axis=3)
    levels = [i % len(codec.levels) for i in range(len(fitting))]
    streams: list[bytes] = []
    symbols: list[Symbols] = []
    for start in range(0, len(fitting), 512):
        part = slice(start, start + 512)
        made = codec.analyse(fitting[part], levels[part])
        symbols += list(made)
        size = fitting.shape[1:3]
        streams += codec.encode(made, levels[part], size, profile=Profile.FILE)
    return streams, symbols


def write(path: Path) -> None:
    """Make the streams of scikit-learn's digits, which every machine has."""
    images = np.resize(real_digits(1797), (10_000, 28, 28, 1))
    held = {}
    for model in sorted(DEFAULT_MODELS.glob("*.safetensors")):
        streams, symbols = make_streams(Codec.load(model, effort=0), images)
        held[f"{model.stem}.streams"] = np.frombuffer(b"".join(streams), np.uint8)
        held[f"{model.stem}.lengths"] = np.array([len(stream) for stream in streams])
        held[f"{model.stem}.symbols"] = np.stack(symbols)
    np.savez_compressed(path, **held)


def check(path: Path) -> int:
    """Decode them; the number of streams that are not as they were."""
    wrong = 0
    with np.load(path) as held:
        for key in [key for key in held if key.endswith(".streams")]:
            name = key.removesuffix(".streams")
            codec = Codec.load(DEFAULT_MODELS / f"{name}.safetensors")
            ends = np.cumsum(held[f"{name}.lengths"])[:-1]
            files = [part.tobytes() for part in np.split(held[key], ends)]
            decoded = codec.decode([parse_frame(data, Profile.FILE) for data in files])
            bad = sum(
                not _same(a, b) for a, b in zip(decoded, held[f"{name}.symbols"], strict=True)
            )
            print(f"{name}: {len(files)} streams, {bad} differ, torch {torch.__version__}")
            wrong += bad
    return wrong


def _same(decoded: Symbols | StreamError, expected: Symbols) -> bool:
    return not isinstance(decoded, StreamError) and np.array_equal(decoded, expected)


def main(argv: Sequence[str]) -> int:
    """Run the command; the process's exit status."""
    if len(argv) != 2 or argv[0] not in ("write", "check"):
        print(__doc__)
        return 2
    path = Path(argv[1])
    if argv[0] == "write":
        write(path)
        return 0
    return 1 if check(path) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
