"""The training loss of each architecture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional

from kompakt_codec.frame import LEVEL_STEPS
from kompakt_codec.models import (
    Autoencoder,
    ConditionalVAE,
    RateModel,
    VariationalAutoencoder,
    distortion_weight,
)
from kompakt_training.quantiser import spread_levels

_HIDDEN_LABELS = 0.2
_ANALYSIS_ENDS = 0.85
"""The part of a training after which the analysis transform is left as it is."""
_WHOLE_LEVELS = 0.5
"""Of the levels drawn in training, where there are others between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A scalar to minimise, a mean over images, and named parts to show beside it."""

    total: torch.Tensor
    parts: Mapping[str, torch.Tensor] = field(default_factory=dict)


def autoencoder_loss(
    model: Autoencoder, x: torch.Tensor, progress: float, labels: torch.Tensor | None = None
) -> Loss:
    """Mean squared error over the pixels of images x in [0, 1] (Theis et al. 2017, section 2).

    It is the distortion alone: the rate is bounded by the bottleneck.
    """
    del progress, labels
    return Loss(total=functional.mse_loss(model(x), x))


def variational_loss(
    model: VariationalAutoencoder,
    x: torch.Tensor,
    progress: float,
    labels: torch.Tensor | None = None,
) -> Loss:
    """The negative evidence lower bound in nats an image (Kingma & Welling 2014, appendices B, C).

    Binary cross-entropy summed over pixels plus the KL divergence of N(mu, diag(exp(log_var))) from
    N(0, I). A conditional model sees the images' levels ``labels``, int64 (N,).
    """
    del progress
    x_hat, mu, log_var = model(x, labels)
    bce = functional.binary_cross_entropy(x_hat, x, reduction="sum") / len(x)
    kl = -0.5 * (1 + log_var - mu**2 - log_var.exp()).sum() / len(x)
    return Loss(total=bce + kl, parts={"bce": bce, "kl": kl})


def conditional_loss(
    model: ConditionalVAE, x: torch.Tensor, progress: float, labels: torch.Tensor | None = None
) -> Loss:
    """``variational_loss`` with the images' classes ``labels``, int64 (N,), a fifth of them hidden.

    So one model serves images with a label and without. In evaluation all labels are seen.
    """
    assert labels is not None
    level = labels + 1
    if model.training:
        level = torch.where(torch.rand(len(x), device=x.device) < _HIDDEN_LABELS, 0, level)
    return variational_loss(model, x, progress, level)


def rate_distortion_loss(
    model: RateModel, x: torch.Tensor, progress: float, labels: torch.Tensor | None = None
) -> Loss:
    """Bits plus weighted squared error, each summed over an image, at a level drawn for each.

    R + lambda D (Ballé et al. 2017, equation 2), divided by sqrt(lambda) so that no level drowns
    the others. The rate's weight rises over the first part of the run (``progress`` 0 to 1), since
    latents of untrained transforms would collapse before they carry anything. The last part trains
    the synthesis and the prior on quantised latents, the analysis stays. In evaluation ``labels``
    are the images' levels, int64 (N,), by default spread over all, and all of the rate counts.
    """
    if model.training:
        level = _drawn_levels(model, len(x), x.device)
    elif labels is None:
        level = spread_levels(len(x), model.levels).to(x.device)
    else:
        level = labels
    x_hat, bits = model(x, level, fixed_analysis=progress >= _ANALYSIS_ENDS)
    error = (x_hat.float() - x).square().flatten(1).sum(1)
    weight = distortion_weight(model.levels, level)
    warm_up = 0.05 + 0.95 * min(1.0, progress / model.rate_warm_up) if model.training else 1.0
    total = (warm_up * bits + weight * error) / weight.sqrt()
    parts = {"bits": bits.mean(), "mse": error.mean() / x[0].numel()}
    return Loss(total=total.mean(), parts=parts)


def _drawn_levels(model: RateModel, count: int, device: torch.device) -> torch.Tensor:
    """Levels (count,) at random; half of them eighths of one, if there are levels between two."""
    level = torch.randint(model.levels, (count,), device=device)
    if not model.has_between:
        return level
    steps = torch.randint(LEVEL_STEPS * (model.levels - 1) + 1, (count,), device=device)
    is_whole = torch.rand(count, device=device) < _WHOLE_LEVELS
    return torch.where(is_whole, level.float(), steps / LEVEL_STEPS)


LOSSES: dict[str, Callable[[Any, torch.Tensor, float, torch.Tensor | None], Loss]] = {
    "ae": autoencoder_loss,
    "vae": variational_loss,
    "cvae": conditional_loss,
    "context": rate_distortion_loss,
    "factorized": rate_distortion_loss,
    "hyperprior": rate_distortion_loss,
}

LOSS_LABELS: dict[str, str] = {
    "ae": "mean squared error",
    "vae": "BCE + KL, nats an image",
    "cvae": "BCE + KL, nats an image",
    "context": "rate + distortion",
    "factorized": "rate + distortion",
    "hyperprior": "rate + distortion",
}

CONDITIONAL = ("cvae",)
"""The architectures whose training needs labels."""
