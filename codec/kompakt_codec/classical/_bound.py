"""When no classical frame can win, told without making one."""

import math

import numpy as np
import numpy.typing as npt

from kompakt_codec.images import Pixels
from kompakt_codec.jit import kernel

_WEBP_LEAST_BYTES = 15
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


def cannot_win(pixels: Pixels, neural_bytes: int) -> bool:
    """Whether no classical payload can be shorter than a neural one, at any quality.

    As cannot_win_batch, for one image (height, width, channels).
    """
    return bool(cannot_win_batch(pixels[None], np.array([neural_bytes]))[0])


def cannot_win_batch(
    images: Pixels, neural_bytes: npt.NDArray[np.integer]
) -> npt.NDArray[np.bool_]:
    """For images (N, height, width, channels) and the N lengths of their neural payloads: (N,).

    Framing is the same for both and does not count. False only says that a search is needed. True
    rests on two bounds. Lossy: the floor of WebP. Lossless: d different values, each sent once at
    least by a prefix code, take d log2(d) bits (Kraft's inequality). That is certain for the
    pixels in DEFLATE. For what the predictors of PNG and WebP leave, d is taken from the
    differences along both axes, which k different differences along one leave at most k squared
    of: not a proof, but an image that fools it has to be made for it.
    """
    num, height, width = images.shape[:3]
    if neural_bytes.min() > webp_floor(height, width):
        return np.zeros(num, np.bool_)
    bits = _BITS_OF_DISTINCT[_num_distinct(np.ascontiguousarray(images))]
    return np.asarray((neural_bytes <= webp_floor(height, width)) & (bits >= 8 * neural_bytes))


@kernel
def _num_distinct(images: Pixels) -> npt.NDArray[np.int64]:
    """How many values each image holds, or its differences along both axes, whichever is fewer."""
    num, height, width, channels = images.shape
    fewest = np.zeros(num, np.int64)
    for i in range(num):
        values, differences = np.zeros(256, np.bool_), np.zeros(256, np.bool_)
        for y in range(height):
            for x in range(width):
                for c in range(channels):
                    values[images[i, y, x, c]] = True
                    if x and y:
                        below = np.int64(images[i, y, x, c]) - images[i, y, x - 1, c]
                        above = np.int64(images[i, y - 1, x, c]) - images[i, y - 1, x - 1, c]
                        differences[(below - above) & 255] = True
        fewest[i] = min(values.sum(), differences.sum())
    return fewest
