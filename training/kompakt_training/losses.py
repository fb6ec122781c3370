"""The training loss of each architecture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional

from kompakt_codec.models import Autoencoder, VariationalAutoencoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A scalar to minimise, a mean over images, and the named parts that it is the sum of."""

    total: torch.Tensor
    parts: Mapping[str, torch.Tensor] = field(default_factory=dict)


def autoencoder_loss(model: Autoencoder, x: torch.Tensor) -> Loss:
    """Mean squared error over the pixels of images x in [0, 1] (Theis et al. 2017, section 2).

    It is the distortion alone: the rate is bounded by the bottleneck.
    """
    return Loss(total=functional.mse_loss(model(x), x))


def variational_loss(model: VariationalAutoencoder, x: torch.Tensor) -> Loss:
    """The negative evidence lower bound in nats an image (Kingma & Welling 2014, appendices B, C).

    Binary cross-entropy summed over pixels plus the KL divergence of N(mu, diag(exp(log_var))) from
    N(0, I).
    """
    x_hat, mu, log_var = model(x)
    bce = functional.binary_cross_entropy(x_hat, x, reduction="sum") / len(x)
    kl = -0.5 * (1 + log_var - mu**2 - log_var.exp()).sum() / len(x)
    return Loss(total=bce + kl, parts={"bce": bce, "kl": kl})


LOSSES: dict[str, Callable[[Any, torch.Tensor], Loss]] = {
    "ae": autoencoder_loss,
    "vae": variational_loss,
}

LOSS_LABELS: dict[str, str] = {
    "ae": "mean squared error",
    "vae": "BCE + KL, nats an image",
}
