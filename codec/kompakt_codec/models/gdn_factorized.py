"""The factorized prior of 2018 as CompressAI trains it (``bmshj2018-factorized``).

Ballé et al. 2018, "Variational Image Compression with a Scale Hyperprior", section 3's baseline.
Kompakt does not train it: ``kompakt import-compressai`` makes checkpoints of it, whose tables are
those of the density that CompressAI learned.
"""

import torch

from kompakt_codec.entropy import LatentShape
from kompakt_codec.models._base import ImageSpec, TransformModel
from kompakt_codec.models._gdn import REACH, STRIDE, GdnConfig, analysis, fill, synthesis


class GdnFactorizedModel(TransformModel):
    """Images (N, channels, height, width) to (N, latents, ceil(h/16), ceil(w/16)) integers.

    ``medians`` (latents,) are what a channel's symbol 0 stands for.
    """

    config_class = GdnConfig
    synthesis_state = ("g_s.", "medians")
    any_size = True
    half_analysis = False  # the squares in its divisors
    stride = STRIDE
    reach = REACH
    medians: torch.Tensor

    def __init__(self, spec: ImageSpec, config: GdnConfig) -> None:
        super().__init__()
        self.g_a = analysis(spec.channels, config)
        self.g_s = synthesis(spec.channels, config)
        self.register_buffer("medians", torch.zeros(config.latents))
        self.latent_shape = (config.latents, 1, 1)

    def latent_shape_of(self, size: tuple[int, int]) -> LatentShape:
        """(latents, ceil(height / 16), ceil(width / 16))."""
        return (self.latent_shape[0], -(-size[0] // STRIDE), -(-size[1] // STRIDE))

    def analyse(self, x: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """g_a: distances from the medians."""
        del level
        return self.g_a(fill(x, STRIDE)) - self.medians[:, None, None]  # type: ignore[no-any-return]

    def synthesise(self, y_hat: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
        """g_s: images in [0, 1]."""
        del level
        return self.g_s(y_hat + self.medians[:, None, None]).clamp(0, 1)  # type: ignore[no-any-return]
