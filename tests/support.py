"""Builders that several test modules share."""

import math

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.context_coder import ContextEntropy
from kompakt_codec.entropy import EntropyTables, frequencies_from_counts
from kompakt_codec.header import Measured, Training
from kompakt_codec.hyper_coder import HyperEntropy
from kompakt_codec.models import ContextModel, HyperpriorModel, ImageSpec, build_model
from kompakt_codec.table_coder import TableEntropy

DIGIT = ImageSpec(height=28, width=28, channels=1)
UNTRAINED = Training(dataset="nothing", licence="none", num_images=1, epochs=1, command="untrained")


def real_digits(count: int) -> np.ndarray:
    """Scikit-learn's 8x8 digits, placed as MNIST's: 20x20 in the middle of 28x28x1, uint8."""
    small = (load_digits().images[:count] * (255 / 16)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(one).resize((20, 20))) for one in small]
    return np.pad(np.stack(large), ((0, 0), (4, 4), (4, 4)))[..., None]


def several_domains() -> list[np.ndarray]:
    """Images that a codec of digits is not for, uint8 (28, 28, 1): noise, flat fields, strokes."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (28, 28, 1), np.uint8)
    flat = [np.full((28, 28, 1), grey, np.uint8) for grey in (0, 77, 255)]
    strokes = np.where(rng.random((7, 28, 1)) < 0.3, 255, 0).astype(np.uint8).repeat(4, axis=0)
    ramp = np.add.outer(np.arange(28), np.arange(28)).astype(np.uint8)[..., None] * 4
    return [noise, *flat, strokes, ramp]


def make_checkpoint(
    architecture: str,
    *,
    seed: int = 0,
    spec: ImageSpec = DIGIT,
    name: str | None = None,
    width: int = 4,
) -> Checkpoint:
    """An untrained model with bell-shaped tables: everything works, nothing looks good."""
    torch.manual_seed(seed)
    config = {"width": width, "latents": 12}
    model = build_model(architecture, spec, config).eval()
    rng = np.random.default_rng(seed)
    counts = [rng.integers(1, 1000, 5) for _ in range(12)]
    tables = EntropyTables(
        shape=model.latent_shape,
        minimums=[-2] * 12,
        frequencies=[frequencies_from_counts(c) for c in counts],
    )
    return Checkpoint.create(
        name=name or f"tiny-{architecture}",
        architecture=architecture,
        config=config,
        spec=spec,
        model=model,
        entropy=TableEntropy([tables]),
        training=UNTRAINED,
    )


def make_label_checkpoint(*, name: str = "tiny-labels") -> Checkpoint:
    """An untrained conditional model of three classes, made as ``make_checkpoint`` does."""
    torch.manual_seed(0)
    config = {"width": 4, "latents": 6, "classes": 3}
    model = build_model("cvae", DIGIT, config).eval()
    rng = np.random.default_rng(0)
    tables = [
        EntropyTables(
            shape=model.latent_shape,
            minimums=[-2] * 6,
            frequencies=[frequencies_from_counts(rng.integers(1, 1000, 5)) for _ in range(6)],
        )
        for _ in range(4)
    ]
    return Checkpoint.create(
        name=name,
        architecture="cvae",
        config=config,
        spec=DIGIT,
        model=model,
        entropy=TableEntropy(tables),
        training=UNTRAINED,
        labels=("one", "two", "three"),
    )


def make_any_size_checkpoint(
    *, spec: ImageSpec = DIGIT, levels: int = 3, blocks: int = 0, name: str = "tiny-any"
) -> Checkpoint:
    """A hyperprior as it is before training, its weights shaken a little: a block transform."""
    torch.manual_seed(0)
    config = {
        "width": 4,
        "blocks": blocks,
        "latents": 12 * spec.channels,
        "side": 4,
        "units": 8,
        "groups": 2,
        "levels": levels,
    }
    model = build_model("hyperprior", spec, config).eval()
    assert isinstance(model, HyperpriorModel)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    bell = frequencies_from_counts(np.array([1, 9, 99, 999, 99, 9, 1]))
    side = EntropyTables(shape=(4, 1, 1), minimums=[-3] * 4, frequencies=[bell] * 4)
    return Checkpoint.create(
        name=name,
        architecture="hyperprior",
        config=config,
        spec=spec,
        model=model,
        entropy=HyperEntropy.freeze(model.prior, TableEntropy([side] * levels)),
        training=UNTRAINED,
        default_level=levels // 2,
    )


def make_level_checkpoint(levels: int = 5, *, name: str = "tiny-levels") -> Checkpoint:
    """A context model made by hand: means of 2x2 pixels, in steps that halve from level to level.

    Its reconstructions are blurred, but the finer the level, the better, at more bytes. From the
    fourth level on it quantises along a trellis.
    """
    torch.manual_seed(0)
    config = {
        "width": 4,
        "blocks": 0,
        "latents": 196,
        "units": 2,
        "components": 2,
        "levels": levels,
        "scalar_levels": 3,
    }
    model = build_model("context", DIGIT, config).eval()
    assert isinstance(model, ContextModel)
    _set_block_means(model)
    curve = tuple(
        Measured(
            dataset="digits test",
            num_images=1,
            bytes_per_image=10.0 * (level + 1),
            bits_per_pixel=80 * (level + 1) / 784,
            mse=0.04 / (level + 1),
            psnr_db=20.0 + level,
        )
        for level in range(levels)
    )
    dependent = model.quantiser.dependent
    return Checkpoint.create(
        name=name,
        architecture="context",
        config=config,
        spec=DIGIT,
        model=model,
        entropy=ContextEntropy.freeze(model.prior, max_symbols=[127] * levels, dependent=dependent),
        training=UNTRAINED,
        default_level=levels // 2,
        measured=curve[levels // 2],
        curve=curve,
    )


@torch.no_grad()
def _set_block_means(model: ContextModel) -> None:
    """Latents are means of 2x2 pixels, and pictures interpolations between them."""
    for part in (model.g_a, model.g_s):
        for parameter in part.parameters():
            parameter.zero_()
    model.g_a.down[0].weight[0, 0, 1:, 1:] = 0.25
    for channel, (row, column) in enumerate(np.ndindex(2, 2)):
        model.g_a.down[2].weight[channel, 0, 1 + row, 1 + column] = 1
        model.g_s.blocks[2].weight[channel, 0, 1 + row, 1 + column] = 1
    model.g_a.out.weight.copy_(torch.eye(196))
    model.g_s.inp.weight.copy_(torch.eye(196))
    taps = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])
    for channel, (row, column) in enumerate(np.ndindex(2, 2)):
        model.g_s.blocks[6].weight[channel, 0] = taps[row][:, None] * taps[column]
    log_steps = torch.arange(model.levels)[:, None] * math.log(2)
    model.gain.log_gain.copy_(log_steps.expand(-1, 196))
    model.gain.log_inverse.copy_(-log_steps.expand(-1, 196))
    model.prior.last.bias.zero_()
    log_scales = model.prior.shifts[2].view(model.levels, 196, 2, 3)[..., 2]
    log_scales.copy_((log_steps + math.log(0.1))[..., None])
