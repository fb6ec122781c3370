"""Scale and mean-scale hyperpriors as CompressAI trains them.

``bmshj2018-hyperprior`` (Ballé et al. 2018, "Variational Image Compression with a Scale
Hyperprior") and, with means, ``mbt2018-mean`` (Minnen et al. 2018, "Joint Autoregressive and
Hierarchical Priors for Learned Image Compression", without the context model). Kompakt does not
train them: ``kompakt import-compressai`` makes checkpoints of them.

What is rounded is the distance of y from its mean, which is 0 in the model without means. As the
means depend on the rounded side information z, both are symbols, 16 places of y and one of z for
each 64x64 pixels: so an encoder and a decoder see the same.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from kompakt_codec.entropy import LatentShape
from kompakt_codec.models._base import ImageSpec, TransformModel
from kompakt_codec.models._gdn import GdnConfig, analysis, down, fill, synthesis, up

SIDE_REACH = 255
"""How far from its median a number of z may be."""
LEAKY_SLOPE = 0.01
_STRIDE = 64
_FOLD = 4
"""How many times smaller z is than y, along each side."""
_REACH = 5
"""A mean takes what is up to 270 pixels away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GdnHyperpriorConfig(GdnConfig):
    """Those of the transforms; ``means`` is 1 if z tells means too, else 0."""

    means: int = 1

    def __post_init__(self) -> None:
        GdnConfig.__post_init__(self)
        if self.means not in (0, 1):
            raise ValueError("means must be 0 or 1")


class GdnHyperpriorModel(TransformModel):
    """Images to (N, 16 * latents + width, ceil(h/64), ceil(w/64)) integers: y folded, then z.

    The scales are no part of it: they choose probabilities (``gaussian_coder``). ``medians``
    (width,) are what z's symbol 0 stands for in each of its channels.
    """

    config_class = GdnHyperpriorConfig
    synthesis_state = ("g_s.", "h_s.", "medians")
    entropy = "gaussian"
    any_size = True
    half_analysis = False  # the squares in its divisors
    stride = _STRIDE
    reach = _REACH
    medians: torch.Tensor

    def __init__(self, spec: ImageSpec, config: GdnHyperpriorConfig) -> None:
        super().__init__()
        self._num_folded = config.latents * _FOLD**2
        self.g_a = analysis(spec.channels, config)
        self.g_s = synthesis(spec.channels, config)
        self.h_a = _hyper_analysis(config)
        self.h_s = _mean_synthesis(config) if config.means else None
        self.register_buffer("medians", torch.zeros(config.width))
        self.latent_shape = (self._num_folded + config.width, 1, 1)

    def latent_shape_of(self, size: tuple[int, int]) -> LatentShape:
        """(C, ceil(height / 64), ceil(width / 64))."""
        return self.latent_shape[0], -(-size[0] // _STRIDE), -(-size[1] // _STRIDE)

    def analyse(self, x: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """g_a and h_a: distances of y from the means, and of z from its medians."""
        del level
        y = self.g_a(fill(x, _STRIDE))
        z = self.h_a(y.abs() if self.h_s is None else y) - self.medians[:, None, None]
        z = z.clamp(-SIDE_REACH, SIDE_REACH)
        if self.h_s is not None:
            y = y - self._means(self.h_s, torch.round(z))
        return torch.cat([functional.pixel_unshuffle(y, _FOLD), z], 1)

    def synthesise(self, y_hat: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """g_s: images in [0, 1]."""
        del level
        y = functional.pixel_shuffle(y_hat[:, : self._num_folded], _FOLD)
        if self.h_s is not None:
            y = y + self._means(self.h_s, y_hat[:, self._num_folded :])
        return self.g_s(y).clamp(0, 1)  # type: ignore[no-any-return]

    def _means(self, h_s: nn.Module, z: torch.Tensor) -> torch.Tensor:
        return h_s(z + self.medians[:, None, None])  # type: ignore[no-any-return]


def _rectifier(config: GdnHyperpriorConfig) -> nn.Module:
    return nn.LeakyReLU(LEAKY_SLOPE) if config.means else nn.ReLU()


def _hyper_analysis(config: GdnHyperpriorConfig) -> nn.Sequential:
    """Features (N, latents, 4h, 4w) to (N, width, h, w)."""
    return nn.Sequential(
        nn.Conv2d(config.latents, config.width, 3, padding=1),
        _rectifier(config),
        down(config.width, config.width),
        _rectifier(config),
        down(config.width, config.width),
    )


def _mean_synthesis(config: GdnHyperpriorConfig) -> nn.Sequential:
    """Side information (N, width, h, w) to means (N, latents, 4h, 4w)."""
    middle = config.latents * 3 // 2
    return nn.Sequential(
        up(config.width, config.latents),
        _rectifier(config),
        up(config.latents, middle),
        _rectifier(config),
        nn.Conv2d(middle, config.latents, 3, padding=1),
    )
