"""What rounding does to a model: symbols, and the variational autoencoder's step."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from kompakt_codec.models import TransformModel, VariationalAutoencoder, crop

_PIXELS_PER_BATCH = 1 << 20


def unit_batches(pixels: torch.Tensor) -> Iterator[torch.Tensor]:
    """Batches of float32 images in [0, 1] from uint8 (N, channels, height, width)."""
    size = max(1, _PIXELS_PER_BATCH // (pixels.shape[2] * pixels.shape[3]))
    for start in range(0, len(pixels), size):
        yield to_unit(pixels[start : start + size].contiguous())


def to_unit(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels uint8 to float32 in [0, 1]."""
    return pixels.float().div_(255)


def spread_levels(count: int, levels: int) -> torch.Tensor:
    """Rate levels int64 (count,) for so many images: each level in turn, so that all have a share.

    Fewer images than levels are of levels at even distances.
    """
    if count < levels:
        return (2 * torch.arange(count) + 1) * levels // (2 * count)
    return torch.arange(count) % levels


@torch.inference_mode()
def fit_step(model: TransformModel, pixels: torch.Tensor, scale: float = 1.0) -> None:
    """Set a variational autoencoder's step to ``scale`` widths of its posterior.

    The width is that of the uniform distribution with the posterior's mean variance over ``pixels``
    (N, channels, height, width): sqrt(12 * variance). An autoencoder has no step to set.
    """
    if not isinstance(model, VariationalAutoencoder):
        return
    total = torch.zeros(model.step.shape, dtype=torch.float64, device=model.step.device)
    for x in unit_batches(pixels):
        _, log_var = model.posterior(x)
        total += log_var.exp().sum(0, dtype=torch.float64)
    model.step.copy_(scale * torch.sqrt(12 * total / len(pixels)))


@torch.inference_mode()
def quantised_mse(
    model: TransformModel, pixels: torch.Tensor, levels: torch.Tensor | None = None
) -> float:
    """Pooled MSE on [0, 1] of images rebuilt from quantised latents, themselves rounded to 8 bits.

    Each image's rate level is given by ``levels``, int64 (N,), else by ``spread_levels``.
    """
    if levels is None:
        levels = spread_levels(len(pixels), model.levels).to(pixels.device)
    total, start = 0.0, 0
    for x in unit_batches(pixels):
        level = levels[start : start + len(x)]
        start += len(x)
        x_hat = model.synthesise(model.quantise(model.analyse(x, level), level), level)
        x_hat = crop(x_hat, x.shape[2:])
        x_hat = x_hat.mul(255).round_().clamp_(0, 255).div_(255)
        total += (x_hat - x).square().sum(dtype=torch.float64).item()
    return total / pixels.numel()


@torch.inference_mode()
def symbols_of(
    model: TransformModel, pixels: torch.Tensor, level: int = 0
) -> npt.NDArray[np.float32]:
    """Quantised latents (N, C, h, w) at one rate level, before any table has bounded them."""
    made = []
    for x in unit_batches(pixels):
        levels = torch.full((len(x),), level, device=x.device)
        made.append(model.quantise(model.analyse(x, levels), levels).cpu().numpy())
    return np.concatenate(made)
