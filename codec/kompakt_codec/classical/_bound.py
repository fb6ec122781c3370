"""When no classical frame can win, told without making one."""

import math

import numpy as np
import numpy.typing as npt

from kompakt_codec.images import Pixels

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
    num, height, width, channels = images.shape
    if neural_bytes.min() > webp_floor(height, width):
        return np.zeros(num, np.bool_)
    rows = images.reshape(num, height, width * channels)
    along = rows[:, :, channels:] - rows[:, :, :-channels]
    values = _num_distinct(rows), _num_distinct(along[:, 1:] - along[:, :-1])
    bits = _BITS_OF_DISTINCT[np.minimum(*values)]
    return np.asarray((neural_bytes <= webp_floor(height, width)) & (bits >= 8 * neural_bytes))


def _num_distinct(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """How many values each of N arrays holds."""
    num = len(values)
    flat: npt.NDArray[np.integer] = values.reshape(num, -1)
    if num > 1:
        flat = flat + np.arange(0, 256 * num, 256)[:, None]
    counts = np.bincount(flat.ravel(), minlength=256 * num)
    return np.asarray(np.count_nonzero(counts.reshape(num, 256), axis=1))
