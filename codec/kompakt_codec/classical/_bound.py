"""When no classical frame can win, told without making one."""

import math

import numpy as np
import numpy.typing as npt

from kompakt_codec.images import Pixels
from kompakt_codec.jit import kernel

_WEBP_LEAST_BYTES = 15
_AVIF_LEAST_BYTES = 22
_MACROBLOCK = 16
_MACROBLOCKS_PER_BYTE, _MAX_MACROBLOCKS = 2, 64
_BITS_OF_DISTINCT = np.array([d * math.log2(d) if d else 0.0 for d in range(257)])


def webp_floor(height: int, width: int) -> int:
    """Bytes that the payload of lossy WebP takes at least.

    Measured: flat images at every quality take 16 bytes with 1 macroblock, 20 with 4, 22 with 9,
    26 with 16 and 52 with 64. All others take more.
    """
    macroblocks = -(-height // _MACROBLOCK) * -(-width // _MACROBLOCK)
    return _WEBP_LEAST_BYTES + min(macroblocks, _MAX_MACROBLOCKS) // _MACROBLOCKS_PER_BYTE


def lossy_floor(height: int, width: int, *, avif: bool) -> int:
    """Bytes that a lossy payload takes at least: WebP's, or AVIF's too.

    Measured of AVIF: flat images of every size up to 256x256 take 23 bytes or more.
    """
    floor = webp_floor(height, width)
    return min(floor, _AVIF_LEAST_BYTES) if avif else floor


def cannot_win(
    images: Pixels, neural_bytes: npt.NDArray[np.integer], *, avif: bool = False
) -> npt.NDArray[np.bool_]:
    """For which images no classical payload is shorter than the neural one, at any quality: (N,).

    Of images (N, height, width, channels) and the N lengths of their neural payloads.

    Framing is the same for both and does not count. False only says that a search is needed. True
    rests on two bounds. Lossy: the floor of WebP, and with ``avif`` AVIF's. Lossless: d different
    values, each sent once at least by a prefix code, take d log2(d) bits (Kraft's inequality). That
    is certain for the pixels in DEFLATE. For what the predictors of PNG and WebP leave, d is taken
    from the differences along both axes, which k different differences along one leave at most k
    squared of: not a proof, but an image that fools it has to be made for it.
    """
    floor = lossy_floor(*images.shape[1:3], avif=avif)
    limits = np.asarray(neural_bytes, np.int64)
    return np.asarray(_cannot_win(np.ascontiguousarray(images), limits, floor, _BITS_OF_DISTINCT))


@kernel
def _cannot_win(
    images: Pixels,
    limits: npt.NDArray[np.int64],
    floor: int,
    bits: npt.NDArray[np.float64],
) -> npt.NDArray[np.bool_]:
    num = len(images)
    cannot = np.zeros(num, np.bool_)
    for i in range(num):
        if limits[i] <= floor:
            cannot[i] = bits[_num_distinct(images[i])] >= 8 * limits[i]
    return cannot


@kernel
def _num_distinct(pixels: Pixels) -> int:
    """How many values an image holds, or its differences along both axes, whichever is fewer."""
    height, width, channels = pixels.shape
    values, differences = np.zeros(256, np.bool_), np.zeros(256, np.bool_)
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                values[pixels[y, x, c]] = True
                if x and y:
                    below = np.int64(pixels[y, x, c]) - pixels[y, x - 1, c]
                    above = np.int64(pixels[y - 1, x, c]) - pixels[y - 1, x - 1, c]
                    differences[(below - above) & 255] = True
    return int(min(values.sum(), differences.sum()))
