"""Building blocks of the rate-distortion-trained transforms."""

import torch
from torch import nn

SLOPE = 0.1
"""Of the leaky rectifiers."""
ON_CPU = torch.device("cpu")
"""Where the constants of a new model are computed: ``with ON_CPU:``.

A checkpoint's model is made on the meta device, where arithmetic, other than a layer's own, would
import PyTorch's compiler: seconds, and more than 100 MiB. Others are made on the CPU, and moved.
"""


@torch.no_grad()
def shrink(weight: torch.Tensor, factor: float) -> None:
    """Multiply a fresh weight, where it has values."""
    if not weight.is_meta:
        weight.mul_(factor)


def at_level(table: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Rows of a table (levels, n) at levels (N,): int64, or float32 for those between two too."""
    if not level.is_floating_point():
        return table[level]
    low = level.floor()
    below, above = (table[k.long().clamp(max=len(table) - 1)] for k in (low, low + 1))
    return below + (level - low)[:, None] * (above - below)


class Residual(nn.Module):
    """A depthwise 3x3 convolution and a pointwise expansion by two, added to the input.

    It starts as the identity: its last layer as zeros (Goyal et al. 2017, section 5.1).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width),
            nn.Conv2d(width, 2 * width, 1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(2 * width, width, 1),
        )
        for parameter in self.body[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, width, h, w) to the same."""
        return x + self.body(x)  # type: ignore[no-any-return]


class Modulation(nn.Module):
    """Scales and shifts features by rate level (Perez et al. 2018, "FiLM")."""

    def __init__(self, levels: int, width: int) -> None:
        super().__init__()
        weight = torch.empty(levels, 2 * width)
        if not weight.is_meta:  # so that a seed draws the layers after this one as ever
            nn.init.normal_(weight)
        self.table = nn.Embedding(levels, 2 * width, _weight=weight)
        nn.init.zeros_(self.table.weight)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """X (N, width, h, w) and level (N,) to features of x's shape."""
        scale, shift = at_level(self.table.weight, level)[:, :, None, None].chunk(2, 1)
        return x * (1 + scale) + shift


class LevelGain(nn.Module):
    """A step for each latent channel and level (Cui et al. 2021, "Asymmetric Gained DIC").

    Between two levels it is their weighted geometric mean, as there. ``start`` (levels,) holds the
    logarithms of the gains to start from.
    """

    def __init__(self, start: torch.Tensor, channels: int) -> None:
        super().__init__()
        start = start[:, None].expand(-1, channels)
        self.log_gain = nn.Parameter(start.clone())
        self.log_inverse = nn.Parameter(-start.clone())

    def scale(self, y: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Latents (N, C, h, w) into units of the level's steps."""
        return y * torch.exp(at_level(self.log_gain, level))[:, :, None, None]

    def unscale(self, y_hat: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Rounded latents (N, C, h, w) back into the transform's units."""
        return y_hat * torch.exp(at_level(self.log_inverse, level))[:, :, None, None]


def straight_through(y: torch.Tensor, y_hat: torch.Tensor) -> torch.Tensor:
    """The quantised latents with the gradient of the others (Theis et al. 2017, section 2.1)."""
    return y + (y_hat - y).detach()


def round_straight_through(y: torch.Tensor) -> torch.Tensor:
    """Round to integers with the gradient of the identity."""
    return straight_through(y, torch.round(y))
