"""The convolutional shape that the paper's autoencoder and variational autoencoder share."""

import torch
from torch import nn


class ConvEncoder(nn.Sequential):
    """Two stride-2 convolutions: (N, channels, H, W) to (N, 2*width, ceil(H/4), ceil(W/4))."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
        )


class ConvDecoder(nn.Sequential):
    """Three transposed convolutions: (N, latents, 1, 1) to (N, channels, H, W) in [0, 1]."""

    def __init__(self, channels: int, width: int, latents: int, size: tuple[int, int]) -> None:
        half, quarter = _halved(size), _halved(_halved(size))
        super().__init__(
            nn.ConvTranspose2d(latents, 2 * width, quarter),
            nn.ReLU(),
            _upsample(2 * width, width, half),
            nn.ReLU(),
            _upsample(width, channels, size),
            nn.Sigmoid(),
        )


def feature_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of ``ConvEncoder``'s features for an image of ``size``."""
    return _halved(_halved(size))


def _halved(size: tuple[int, int]) -> tuple[int, int]:
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def _upsample(channels_in: int, channels_out: int, size: tuple[int, int]) -> nn.ConvTranspose2d:
    # A 3x3 stride-2 convolution maps n to (n + 1) // 2; output_padding restores even n.
    output_padding = (1 - size[0] % 2, 1 - size[1] % 2)
    return nn.ConvTranspose2d(
        channels_in, channels_out, 3, stride=2, padding=1, output_padding=output_padding
    )


def round_straight_through(y: torch.Tensor) -> torch.Tensor:
    """Round to integers with the gradient of the identity (Theis et al. 2017, section 2.1)."""
    return y + (torch.round(y) - y).detach()
