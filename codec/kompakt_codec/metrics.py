"""How far two images are apart: MSE, PSNR and SSIM of uint8 pixels (height, width, channels)."""

import math

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from kompakt_codec.images import Pixels

SSIM_WINDOW = 11
"""The side of SSIM's window in pixels; smaller images have no SSIM."""

_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2
_BLOCK_PIXELS = 1 << 20


def squared_error(a: Pixels, b: Pixels) -> int:
    """The sum of the squared differences of two uint8 arrays of one shape, exactly."""
    if a.shape != b.shape:
        raise ValueError(f"images of different shapes: {a.shape} and {b.shape}")
    total = 0
    rows = max(1, _BLOCK_PIXELS * len(a) // max(1, a.size))  # blocks of rows bound the memory
    for start in range(0, len(a), rows):
        part = slice(start, start + rows)
        difference = a[part].astype(np.int16).ravel() - b[part].ravel()
        total += int(np.einsum("i,i->", difference, difference, dtype=np.int64))
    return total


def mse(a: Pixels, b: Pixels) -> float:
    """Mean squared error of two uint8 arrays of one shape, on a scale from 0 to 1."""
    return squared_error(a, b) / (a.size * 255**2)


def psnr_db(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of an MSE on a scale from 0 to 1; infinite for 0."""
    return math.inf if mse == 0 else -10 * math.log10(mse)


def ssim(a: Pixels, b: Pixels) -> float | None:
    """Structural similarity of two uint8 images (height, width, channels), the mean over channels.

    None for images under 11 pixels in height or width. Wang, Bovik, Sheikh and Simoncelli, "Image
    quality assessment: from error visibility to structural similarity", 2004: Gaussian window of
    11x11 with sigma 1.5, K1 = 0.01, K2 = 0.03, population variances. Only windows that lie within
    the image count, as in the authors' code, so that no border is made up.
    """
    if a.shape != b.shape:
        raise ValueError(f"images of different shapes: {a.shape} and {b.shape}")
    height, width, channels = a.shape
    if min(height, width) < SSIM_WINDOW:
        return None
    margin = SSIM_WINDOW - 1
    rows = max(1, _BLOCK_PIXELS // width)  # blocks of rows keep the memory bounded
    total = 0.0
    for channel in range(channels):
        for top in range(0, height - margin, rows):
            block = np.s_[top : top + rows + margin, :, channel]
            total += float(_ssim_map(a[block], b[block]).sum())
    num_windows: int = (height - margin) * (width - margin) * channels
    return total / num_windows


def _ssim_map(a: Pixels, b: Pixels) -> npt.NDArray[np.float64]:
    """SSIM of each window within two arrays (height, width)."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y, xx, yy, xy = _blur(np.stack([x, y, x * x, y * y, x * y]))
    variances = xx - mean_x**2 + yy - mean_y**2
    covariance = xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variances + _C2)
    return np.asarray(luminance * structure)


def _blur(images: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Gaussian means over each window within (n, height, width)."""
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        images = sliding_window_view(images, SSIM_WINDOW, axis) @ weights
    return images
