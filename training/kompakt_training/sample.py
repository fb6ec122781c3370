"""What ``kompakt sample`` does: images from a VAE's prior, and walks between two."""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.errors import CodecError
from kompakt_codec.files import write_whole
from kompakt_codec.images import (
    FileFormat,
    Fit,
    Pixels,
    encode_image,
    fit_image,
)
from kompakt_codec.models import VariationalAutoencoder
from kompakt_training.errors import TrainingError
from kompakt_training.image_files import read_image
from kompakt_training.progress import say
from kompakt_training.terminal import Parser

_GAP = 2
"""Pixels between the images of a sheet."""


def write_sheet(parser: Parser, args: argparse.Namespace) -> None:
    """Write the sheet that the arguments of ``kompakt sample`` ask for. Raises TrainingError."""
    checkpoint = Checkpoint.load(args.model)
    level = _level(parser, checkpoint, args.label)
    if args.between:
        ends = [_read(path, checkpoint) for path in args.between]
        images = interpolate(checkpoint, ends[0], ends[1], count=args.count, level=level)
    else:
        images = draw(checkpoint, count=args.count, seed=args.seed, level=level)
    write_whole(args.out, encode_image(sheet(images, args.columns), FileFormat.PNG))
    say(Console(), f"wrote {len(images)} images to {args.out}")


def draw(checkpoint: Checkpoint, *, count: int, seed: int, level: int = 0) -> Pixels:
    """Images of latents from the prior N(0, I), uint8 (count, height, width, channels).

    The same on every run with one seed and one version of PyTorch. ``level`` is that of a label.
    Raises TrainingError for a model without such a prior.
    """
    model = _variational(checkpoint)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(count, *model.latent_shape, generator=generator)
    return _decoded(model, z, level)


def interpolate(
    checkpoint: Checkpoint, first: Pixels, last: Pixels, *, count: int, level: int = 0
) -> Pixels:
    """Images at even steps on the line between the latents of two, which come first and last.

    All uint8, (height, width, channels), the result (count, …). The latents are the means of the
    posterior, not rounded (Kingma & Welling 2014, figure 4, has such walks). Raises TrainingError
    for a model that is no variational autoencoder.
    """
    model = _variational(checkpoint)
    ends = torch.from_numpy(np.stack([first, last])).permute(0, 3, 1, 2).float().div_(255)
    with torch.inference_mode():
        mu, _ = model.posterior(ends, torch.full((2,), level))
        share = torch.linspace(0, 1, count)[:, None]
        z = mu[:1] * (1 - share) + mu[1:] * share
    return _decoded(model, z[:, :, None, None], level)


def sheet(images: Pixels, columns: int) -> Pixels:
    """Images (N, height, width, channels) in rows of so many, white between them."""
    count, height, width, channels = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    step = height + _GAP, width + _GAP
    made = np.full((rows * step[0] - _GAP, columns * step[1] - _GAP, channels), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * step[0], index % columns * step[1]
        made[top : top + height, left : left + width] = image
    return made


def _variational(checkpoint: Checkpoint) -> VariationalAutoencoder:
    model = checkpoint.model
    if not isinstance(model, VariationalAutoencoder):
        raise TrainingError(
            f"{checkpoint.header.name} is of the kind {checkpoint.header.architecture}: only vae "
            "and cvae have a prior to draw images from"
        )
    return model.eval()


def _level(parser: Parser, checkpoint: Checkpoint, label: str | None) -> int:
    if label is None:
        return 0
    labels = checkpoint.header.labels
    if label not in labels:
        known = f"one of {', '.join(labels)}" if labels else "none, its model knows no labels"
        parser.error(f"--label must be {known}, not {label!r}")
    return 1 + labels.index(label)


def _read(path: Path, checkpoint: Checkpoint) -> Pixels:
    try:
        pixels = read_image(path)
    except CodecError as exc:
        raise TrainingError(f"{path}: {exc}") from exc
    spec = checkpoint.header.spec
    return fit_image(pixels, spec.height, spec.width, spec.channels, Fit.CONTAIN)[0]


@torch.inference_mode()
def _decoded(model: VariationalAutoencoder, z: torch.Tensor, level: int) -> npt.NDArray[np.uint8]:
    x_hat = model.decoded(z, torch.full((len(z),), level))
    pixels = x_hat.mul(255).round_().to(torch.uint8).permute(0, 2, 3, 1)
    return pixels.contiguous().numpy()
