"""CompressAI's own compress and decompress on a model of our size: the same transforms and weights.

Run in an environment that has compressai, torch and safetensors. The transforms are those of the
checkpoint; between them stands CompressAI's EntropyBottleneck, whose ``compress`` goes through a
batch image by image.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from compressai.entropy_models import EntropyBottleneck
from compressai.models import CompressionModel
from safetensors import safe_open
from torch import nn

_PREFIX = "model."


class EqualModel(CompressionModel):
    """The transforms of our autoencoder around a factorized entropy model."""

    def __init__(self, width: int, latents: int, levels: int) -> None:
        super().__init__()
        self.bound = (levels - 1) / 2
        self.g_a = nn.Sequential(
            nn.Sequential(
                nn.Conv2d(1, width, 3, stride=2, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
                nn.BatchNorm2d(2 * width),
                nn.ReLU(),
            ),
            nn.Conv2d(2 * width, latents, 7),
            nn.BatchNorm2d(latents, affine=False),
        )
        self.g_s = nn.Sequential(
            nn.ConvTranspose2d(latents, 2 * width, 7),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )
        self.entropy_bottleneck = EntropyBottleneck(latents)

    def compress(self, x: torch.Tensor) -> dict[str, Any]:
        """Images to strings, as every factorized model of CompressAI does it."""
        y = self.bound * torch.tanh(self.g_a(x))
        return {"strings": self.entropy_bottleneck.compress(y), "shape": y.shape[-2:]}

    def decompress(self, strings: list[bytes], shape: torch.Size) -> torch.Tensor:
        """Strings to images."""
        return self.g_s(self.entropy_bottleneck.decompress(strings, shape))


def load_model(path: str) -> EqualModel:
    """The checkpoint's transforms; the entropy model's tables as CompressAI starts them."""
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["kompakt"])["config"]
        names = [name for name in file.keys() if name.startswith(_PREFIX)]  # noqa: SIM118
        weights = {name.removeprefix(_PREFIX): file.get_tensor(name) for name in names}
    model = EqualModel(config["width"], config["latents"], config["levels"]).eval()
    missing = model.load_state_dict(weights, strict=False).missing_keys
    if strange := [name for name in missing if not name.startswith("entropy_bottleneck.")]:
        raise ValueError(f"the checkpoint lacks {strange}")
    model.update(force=True)
    return model


def images_per_second(
    function: Callable[[], object], images: int, seconds: float, warm_up: float
) -> float:
    """Repeat a function on so many images until the time is up."""
    function()
    done, begin = 0, time.perf_counter() + warm_up
    while True:
        function()
        now = time.perf_counter()
        if now >= begin + seconds:
            return done * images / (now - begin)
        done += now >= begin


@torch.inference_mode()
def main() -> int:
    """Print images a second of both directions, in batches and one by one."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.compressai_loop", description=__doc__
    )
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--images", required=True, help="npy file of uint8 (N, 28, 28, 1)")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each direction")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds before the count")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(arguments.checkpoint)
    images = np.load(arguments.images)[: arguments.batch]
    times = (len(images), arguments.seconds, arguments.warm_up)

    def to_floats() -> torch.Tensor:
        return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255)

    made = model.compress(to_floats())
    rates = {
        "compress": images_per_second(lambda: model.compress(to_floats()), *times),
        "decompress": images_per_second(
            lambda: model.decompress(**made).mul(255).round().to(torch.uint8).numpy(), *times
        ),
    }
    print(json.dumps(rates))
    return 0


if __name__ == "__main__":
    sys.exit(main())
