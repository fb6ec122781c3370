"""The paper's variational autoencoder, with a quantiser fitted to its posterior.

The autoencoder's shape with two fully connected heads that give the mean and log-variance of each
latent (Kingma & Welling 2014, "Auto-Encoding Variational Bayes"), trained by reparameterisation on
binary cross-entropy plus KL divergence. To compress, the mean is rounded to a step for each latent.
A uniform error of width sqrt(12) standard deviations has the variance of the posterior's own noise,
which the decoder was trained to bear: that step costs about the KL divergence in rate. Latents that
the model does not use have a posterior as wide as the prior, round to 0, and cost nothing.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import nn

from kompakt_codec.models._base import ImageSpec, TransformModel
from kompakt_codec.models._conv import ConvDecoder, ConvEncoder, feature_size

if TYPE_CHECKING:
    from kompakt_codec.models.cvae import CVAEConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class VAEConfig:
    """Width of the transforms and number of latents."""

    width: int = 32
    latents: int = 24

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 512 or not 1 <= self.latents <= 4096:
            raise ValueError("width must be 1 to 512 and latents 1 to 4096")


class VAEOutput(NamedTuple):
    """x_hat (N, channels, height, width) in [0, 1]; mu and log_var (N, latents)."""

    x_hat: torch.Tensor
    mu: torch.Tensor
    log_var: torch.Tensor


class VariationalAutoencoder(TransformModel):
    """Images (N, channels, height, width) to (N, latents, 1, 1) integers and back."""

    config_class: ClassVar[type] = VAEConfig
    synthesis_state = ("g_s.", "step")
    step: torch.Tensor

    def __init__(self, spec: ImageSpec, config: "VAEConfig | CVAEConfig") -> None:
        super().__init__()
        size = (spec.height, spec.width)
        rows, columns = feature_size(size)
        features = 2 * config.width * rows * columns
        self.latent_shape = (config.latents, 1, 1)
        self.g_a = nn.Sequential(ConvEncoder(spec.channels, config.width), nn.Flatten())
        self.mu = nn.Linear(features, config.latents)
        self.log_var = nn.Linear(features, config.latents)
        self.g_s = ConvDecoder(spec.channels, config.width, config.latents, size)
        self.register_buffer("step", torch.ones(config.latents))

    def check_state(self) -> None:
        """Raise ValueError unless every step is positive."""
        if not bool((self.step > 0).all()):
            raise ValueError("steps must be positive")

    def features(self, x: torch.Tensor, level: torch.Tensor | None) -> torch.Tensor:
        """What the posterior's heads see of images x, (N, features)."""
        del level
        return self.g_a(x)  # type: ignore[no-any-return]

    def decoded(self, z: torch.Tensor, level: torch.Tensor | None) -> torch.Tensor:
        """Images in [0, 1] of latents z (N, latents, 1, 1)."""
        del level
        return self.g_s(z)  # type: ignore[no-any-return]

    def posterior(
        self, x: torch.Tensor, level: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log-variance of q(z | x), each (N, latents)."""
        features = self.features(x, level)
        return self.mu(features), self.log_var(features)

    def analyse(self, x: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """g_a: the posterior's mean in units of the step, (N, latents, 1, 1)."""
        mu = self.mu(self.features(x, level)) / self.step
        return mu[:, :, None, None]  # type: ignore[no-any-return]

    def synthesise(self, y_hat: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """g_s: images in [0, 1]."""
        return self.decoded(y_hat * self.step[:, None, None], level)

    def forward(self, x: torch.Tensor, level: torch.Tensor | None = None) -> VAEOutput:
        """Reconstruct x from a sample of its posterior, differentiably."""
        mu, log_var = self.posterior(x, level)
        z = mu + torch.randn_like(mu) * torch.exp(log_var / 2)
        return VAEOutput(self.decoded(z[:, :, None, None], level), mu, log_var)
