"""Small random affine maps of images, against a training that learns its images by heart.

As Simard et al. 2003, "Best Practices for Convolutional Neural Networks Applied to Visual Document
Analysis", do with digits.
"""

import torch
from torch.nn import functional

_ANGLE, _SHEAR, _SCALE = 0.08, 0.06, 0.05
"""Standard deviations: of radians, of a shear, and of the logarithms of both sides' factors."""


def warped(x: torch.Tensor) -> torch.Tensor:
    """Images x (N, channels, height, width) in [0, 1], half of them rotated, sheared and scaled.

    What comes in from outside is the nearest of the image's edge. The others stay sharp as they
    are: a resampled image is smoother than those that the codec is for. Drawn from torch's
    generator.
    """
    count = -(-len(x) // 2)
    angle, shear = _ANGLE * torch.randn(count), _SHEAR * torch.randn(count)
    wide, high = torch.exp(_SCALE * torch.randn(2, count))
    cos, sin, none = torch.cos(angle), torch.sin(angle), torch.zeros(count)
    rows = [
        torch.stack(row, 1) for row in ((wide * cos, shear - sin, none), (sin, high * cos, none))
    ]
    some = x[:count].float()
    grid = functional.affine_grid(
        torch.stack(rows, 1).to(x.device), list(some.shape), align_corners=False
    )
    made = functional.grid_sample(
        some, grid, mode="bicubic", padding_mode="border", align_corners=False
    )
    return torch.cat([made.clamp(0, 1).to(x.dtype), x[count:]])
