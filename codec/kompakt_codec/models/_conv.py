"""The convolutional shape that the paper's autoencoder and variational autoencoder share."""

import torch
from torch import nn


class ConvEncoder(nn.Sequential):
    """Two stride-2 convolutions: (N, channels, H, W) to (N, 2*width, ceil(H/4), ceil(W/4))."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
        )


class ConvDecoder(nn.Sequential):
    """Three transposed convolutions: (N, latents, 1, 1) to (N, channels, H, W) in [0, 1]."""

    def __init__(self, channels: int, width: int, latents: int, size: tuple[int, int]) -> None:
        half, quarter = _halved(size), _halved(_halved(size))
        super().__init__(
            _Unfold(latents, 2 * width, quarter),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            _upsample(2 * width, width, half),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            _upsample(width, channels, size),
            nn.Sigmoid(),
        )


class _Unfold(nn.ConvTranspose2d):
    """A transposed convolution of one place, (N, C, 1, 1): a matrix product, and as fast as one."""

    def forward(self, x: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        """(N, out, height, width) of the kernel's size."""
        del output_size
        weight: torch.Tensor = self.weight
        product = torch.matmul(x.flatten(1), weight.flatten(1)).reshape(-1, *weight.shape[1:])
        return product if self.bias is None else product + self.bias[:, None, None]


def feature_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of ``ConvEncoder``'s features for an image of ``size``."""
    return _halved(_halved(size))


def _halved(size: tuple[int, int]) -> tuple[int, int]:
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def _upsample(channels_in: int, channels_out: int, size: tuple[int, int]) -> nn.ConvTranspose2d:
    # The stride-2 convolution maps n to (n + 1) // 2. A kernel of 4 leads back to an even n, and
    # covers each pixel equally often, which avoids a checkerboard; a kernel of 3 to an odd n.
    kernel = tuple(4 if n % 2 == 0 else 3 for n in size)
    return nn.ConvTranspose2d(channels_in, channels_out, (kernel[0], kernel[1]), 2, padding=1)
