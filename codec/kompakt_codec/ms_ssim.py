"""Multi-scale structural similarity of uint8 images."""

import numpy as np
import torch
from torch import Tensor, nn

from kompakt_codec.images import Pixels

MS_SSIM_SIDE = 161
"""The least height and width: halved four times, that still holds one window."""

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = 11
_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


def ms_ssim(a: Pixels, b: Pixels) -> float | None:
    """MS-SSIM of two uint8 images (height, width, channels), the mean over channels.

    None for images under 161 pixels in height or width. Wang, Simoncelli and Bovik, "Multiscale
    structural similarity for image quality assessment", 2003: the product of five scales' contrast
    and structure, the coarsest's luminance too, each to its own power; a Gaussian window of 11x11
    with sigma 1.5, K1 = 0.01, K2 = 0.03, only windows that lie within the image. Where contrast
    and structure are negative they count as 0, since they have no power. Each scale halves the one
    before, the last of an odd number of rows or columns averaged alone.
    """
    if a.shape != b.shape:
        raise ValueError(f"images of different shapes: {a.shape} and {b.shape}")
    if min(a.shape[:2]) < MS_SSIM_SIDE:
        return None
    channels = range(a.shape[2])  # one at a time, which bounds the memory
    products = torch.cat([_of_channels(a[..., [i]], b[..., [i]]) for i in channels])
    return float(products.double().mean())


def _of_channels(a: Pixels, b: Pixels) -> Tensor:
    """Each channel's MS-SSIM: (C,)."""
    x, y = (torch.from_numpy(p.astype(np.float32)).permute(2, 0, 1) for p in (a, b))
    product = torch.ones(a.shape[2])
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        if scale:
            x, y = _halve(x), _halve(y)
        is_coarsest = scale == len(_SCALE_WEIGHTS) - 1
        similarity = _similarity(x, y, with_luminance=is_coarsest)
        product *= similarity.relu() ** weight
    return product


def _similarity(x: Tensor, y: Tensor, *, with_luminance: bool) -> Tensor:
    """Of channels (C, h, w), the mean over the windows: (C,)."""
    mean_x, mean_y, squares, products = _blur(torch.stack([x, y, x * x + y * y, x * y]))
    mean_squares = mean_x * mean_x + mean_y * mean_y
    mean_products = mean_x * mean_y
    structure: Tensor = (2 * (products - mean_products) + _C2) / (squares - mean_squares + _C2)
    if with_luminance:
        structure = structure * (2 * mean_products + _C1) / (mean_squares + _C1)
    return structure.mean((1, 2))


def _blur(images: Tensor) -> Tensor:
    """Gaussian means over each window within (..., h, w).

    Eleven shifted sums each way, which are faster on a CPU than a convolution.
    """
    offsets = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    gaussian = torch.exp(-0.5 * (offsets / _SIGMA) ** 2)
    weights: list[float] = (gaussian / gaussian.sum()).tolist()
    for axis in (-2, -1):
        length = images.shape[axis] - _WINDOW + 1
        blurred = weights[0] * images.narrow(axis, 0, length)
        for offset, weight in enumerate(weights[1:], start=1):
            blurred.add_(images.narrow(axis, offset, length), alpha=weight)
        images = blurred
    return images


def _halve(x: Tensor) -> Tensor:
    halved: Tensor = nn.functional.avg_pool2d(x, 2, ceil_mode=True)
    return halved
