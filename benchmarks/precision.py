"""What shorter floats do to each model's symbols and pixels, on any machine.

    KOMPAKT_DATA_DIR=DIR python -m benchmarks.precision

Layers run in the format as PyTorch's autocast has them on a CPU. Synthesis starts from the same
symbols. Images: MNIST's validation digits, and the two photographs that come with scikit-learn.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kompakt_codec.checkpoint import Checkpoint
from kompakt_service.settings import DEFAULT_MODELS
from kompakt_training.data import load_dataset

_FORMATS = torch.float16, torch.bfloat16
_DIGITS = 200


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each model, level and format."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--models", type=Path, default=DEFAULT_MODELS, help="checkpoints' folder")
    arguments = parser.parse_args(argv)
    print("model              level  format    symbols  pixels  most  MSE, worst image")
    for path in sorted(arguments.models.glob("*.safetensors")):
        for level, dtype, cells in _compared(path):
            name = str(dtype).removeprefix("torch.")
            print(f"{path.stem:18} {level:5}  {name:8} {cells}", flush=True)
    return 0


@torch.no_grad()
def _compared(path: Path) -> Iterator[tuple[int, torch.dtype, str]]:
    """How many symbols and pixels differ, by how much at most, and the change of an image's MSE."""
    checkpoint = Checkpoint.load(path)
    images = _images(checkpoint.header.channels)
    for level in sorted({0, checkpoint.header.default_level, checkpoint.model.levels - 1}):
        symbols, pixels = _run(checkpoint.model, images, level)
        for dtype in _FORMATS:
            with torch.autocast("cpu", dtype):
                others, _ = _run(checkpoint.model, images, level)
                _, made = _run(checkpoint.model, images, level, symbols)
            error, exact = (((one - 255 * images) ** 2).mean((1, 2, 3)) for one in (made, pixels))
            off = (made - pixels).abs()
            shares = (others != symbols).float().mean(), (off > 0).float().mean()
            change = (error / exact - 1).abs().max()
            yield level, dtype, f"{shares[0]:8.2%} {shares[1]:7.2%} {off.max():5.0f} {change:17.2%}"


def _images(channels: int) -> torch.Tensor:
    """In [0, 1], float32 (N, channels, height, width)."""
    if channels == 1:
        pixels = load_dataset("mnist").val[:_DIGITS]
    else:
        from sklearn.datasets import load_sample_images

        pixels = np.stack([photo[:256, :256] for photo in load_sample_images().images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def _run(
    model: Any, images: torch.Tensor, level: int, symbols: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    levels = torch.full((len(images),), level, dtype=model.level_type)
    if symbols is None:
        symbols = model.quantise(model.analyse(images, levels).float(), levels)
    made = model.synthesise(symbols, levels)[..., : images.shape[2], : images.shape[3]]
    return symbols, (made.float() * 255).round().clamp(0, 255)


if __name__ == "__main__":
    sys.exit(main())
