"""The bare transforms of a checkpoint as ONNX files, for the peers."""

import warnings
from pathlib import Path

import torch
from torch import nn

from benchmarks.peers import ITEM_SHAPES
from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.models import TransformModel


class _Analysis(nn.Module):
    """uint8 images (N, 28, 28) to int8 latents (N, C)."""

    def __init__(self, model: TransformModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        y = self.model.analyse(images.unsqueeze(1).float().div(255))
        return torch.round(y).flatten(1).to(torch.int8)


class _Synthesis(nn.Module):
    """int8 latents (N, C) to uint8 images (N, 28, 28)."""

    def __init__(self, model: TransformModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        x_hat = self.model.synthesise(latents.float().unsqueeze(-1).unsqueeze(-1))
        return x_hat.clamp(0, 1).mul(255).round().to(torch.uint8).squeeze(1)


def export_transforms(checkpoint: Path, directory: Path) -> None:
    """Write analysis.onnx and synthesis.onnx of a checkpoint for 28x28x1 images."""
    model = Checkpoint.load(checkpoint).model.eval()
    for name, module, dtype in (
        ("analysis", _Analysis(model), torch.uint8),
        ("synthesis", _Synthesis(model), torch.int8),
    ):
        batch = torch.zeros(2, *ITEM_SHAPES[name], dtype=dtype)
        with warnings.catch_warnings():
            # The exporter that replaces it needs onnxscript, and is slower to no end here.
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                module.eval(),
                (batch,),
                str(directory / f"{name}.onnx"),
                dynamo=False,
                input_names=["batch"],
                output_names=["result"],
                dynamic_axes={"batch": {0: "n"}, "result": {0: "n"}},
            )
