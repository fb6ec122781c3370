"""Trains a CompressAI model for a few steps, and writes its weights and what it makes of a photo.

Runs by ``test_compressai.py`` in an environment with CompressAI, and imports nothing of Kompakt.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from compressai.models import (
    CompressionModel,
    FactorizedPrior,
    MeanScaleHyperprior,
    ScaleHyperprior,
)
from torch.nn import functional

MODELS = {
    "bmshj2018-factorized": FactorizedPrior,
    "bmshj2018-hyperprior": ScaleHyperprior,
    "mbt2018-mean": MeanScaleHyperprior,
}
_CROP, _BATCH = 128, 4
_DISTORTION = 255**2 * 0.013


def train(model: CompressionModel, photos: torch.Tensor, steps: int) -> None:
    """Adam on rate plus distortion of random crops of photos (N, 3, height, width)."""
    generator = np.random.default_rng(0)
    quantiles = {n for n, _ in model.named_parameters() if n.endswith(".quantiles")}
    weights = [p for n, p in model.named_parameters() if n not in quantiles]
    main = torch.optim.Adam(weights, 1e-3)
    aux = torch.optim.Adam([p for n, p in model.named_parameters() if n in quantiles], 1e-2)
    for _ in range(steps):
        x = torch.stack([_crop(photos, generator) for _ in range(_BATCH)])
        out = model(x)
        loss = bits(out) / (_BATCH * _CROP**2) + _DISTORTION * functional.mse_loss(out["x_hat"], x)
        main.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        main.step()
        tails = model.aux_loss()
        aux.zero_grad()
        tails.backward()
        aux.step()


def _crop(photos: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    index = generator.integers(len(photos))
    top, left = (int(generator.integers(side - _CROP + 1)) for side in photos.shape[2:])
    return photos[index, :, top : top + _CROP, left : left + _CROP]


def bits(out: dict) -> torch.Tensor:
    """CompressAI's estimate of the information in a batch."""
    return sum(-torch.log2(likelihood).sum() for likelihood in out["likelihoods"].values())


@torch.no_grad()
def outputs(model: CompressionModel, x: torch.Tensor) -> dict[str, np.ndarray]:
    """What the model makes of x in evaluation, step by step, and its strings' bytes."""
    out = model(x)
    y = model.g_a(x)
    made = {"y": y, "x_hat": out["x_hat"].clamp(0, 1), "bits": bits(out)}
    if hasattr(model, "h_a"):
        made["z"] = model.h_a(y if isinstance(model, MeanScaleHyperprior) else y.abs())
        z_hat, _ = model.entropy_bottleneck(made["z"])
        parameters = model.h_s(z_hat)
        made["z_hat"] = z_hat
        made["scales"] = parameters
        if isinstance(model, MeanScaleHyperprior):
            made["scales"], made["means"] = parameters.chunk(2, 1)
    strings = model.compress(x)["strings"]
    arrays = {key: value.numpy() for key, value in made.items()}
    arrays["string_bytes"] = np.array(sum(len(one) for part in strings for one in part))
    return arrays


def main() -> None:
    """Write ``state.pth`` and ``outputs.npz``; print what was reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architecture", choices=MODELS)
    parser.add_argument(
        "--photos", type=Path, required=True, help="npy, uint8 (N, height, width, 3)"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--sizes", type=int, nargs=2, default=(16, 24), help="N and M")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    photos = torch.from_numpy(np.load(arguments.photos)).permute(0, 3, 1, 2).float() / 255
    model = MODELS[arguments.architecture](*arguments.sizes)
    train(model, photos, arguments.steps)
    model.eval().update(force=True)
    torch.save(model.state_dict(), arguments.out / "state.pth")
    made = outputs(model, photos)
    np.savez(arguments.out / "outputs.npz", **made)
    mse = float(np.square(made["x_hat"] - photos.numpy()).mean())
    print(json.dumps({"bits": float(made["bits"]), "mse": mse}))


if __name__ == "__main__":
    main()
