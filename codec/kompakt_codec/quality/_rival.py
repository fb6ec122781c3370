"""The classical codecs' part: the best body for an image within a bound.

Their searches take long, so it is first told whether one can be of use.
"""

import functools
import math
import zlib
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from kompakt_codec.baselines import BASELINES, LossyBaseline
from kompakt_codec.classical import (
    ClassicalBody,
    cannot_win,
    encode_classical,
    encode_classical_lossless,
    encode_classical_near,
    lossy_floor,
)
from kompakt_codec.images import WEBP_MAX_SIDE, Pixels
from kompakt_codec.metrics import mse
from kompakt_codec.quality._qualities import (
    MARGIN,
    QUALITIES,
    Secants,
    finest_within,
    may_win,
)

_CONTAINER = 27
"""Bytes of a WebP file that its classical payload does without, at most."""
_HURRY = 2.5
"""How many times the best lossless payload's size plain DEFLATE may take."""
_REGULAR, _SMALL_REGULAR = 6, 24
"""How many bytes DEFLATE takes one for, at least, where a large or a small picture repeats itself
so much that it is not within ``_HURRY``."""
_HASTE = 1.75
"""How many times its careful encoder's payload WebP's fastest may take: 1.6 at most on 3,000 small
images of many kinds whose careful payload is under 40 bytes."""
_FEW = 256
"""Bytes that 256 values, all that there are, take at least in a prefix code's own table."""


_webp_baseline = BASELINES["webp"]
assert isinstance(_webp_baseline, LossyBaseline)
_WEBP = _webp_baseline
_FASTEST = replace(_WEBP, options={"method": 0})
_FAST = replace(_WEBP, options={"method": 2})
_QUICK = replace(_WEBP, options={"method": 4})
_LOSSLESS, _LOSSLESS_QUALITY = replace(_WEBP, options={"lossless": True, "method": 1}), 50
_LOSSLESS_HASTE = 4
"""As ``_HASTE``, of lossless WebP: 2.8 at most on flat areas, stripes, gradients, tiles, shapes."""
LARGE = 1 << 13
"""Pixels from which on an image is large."""
HUGE = 1 << 24
"""Pixels from which on a model's stream that will do is not contested: it would take minutes."""
ANY_LENGTH = 1 << 40
_PHOTO, _PHOTO_HASTE, _PIECE_HASTE = 1 << 16, 1.08, 1.25
"""As ``_HASTE``, for ``_QUICK`` at equal MSE, from so many pixels on and below: 1.074 at most on
900 pieces of photographs of 256x256. On as many of 96x96: 1.26 at most, 1.1 for 99 of 100."""
_SEARCHED = 9
"""How far around the quality that was found it is looked at more closely."""
_AIM = 1.1
"""Times the bound on the MSE, what a trial should fail it by: clearly, but only just."""
_COARSER = 1.12
"""How many times the MSE of a careful encoder that of ``_FAST`` is, at the same quality."""
_PERIOD = 64
"""Rows of which a quarter is looked at first."""
_START, _ROUGH_TRIALS = 45, 4
"""Where a rough search starts, and how many trials it has."""
_TRIALS = 3
"""How many careful encodings a contest may take before it is fought out."""


def may_be_of_use(
    images: Pixels, limits: npt.NDArray[np.integer], *, avif: bool
) -> npt.NDArray[np.bool_]:
    """For which of the images (N, height, width, channels) a search is needed, (N,).

    ``limits`` are the bytes that a payload has to be shorter than, ``avif`` whether AVIF is tried
    too. Told without the MSE of what the model decodes to.
    """
    needed = ~cannot_win(images, limits, avif=avif)
    is_lossless_or_none = limits <= lossy_floor(*images.shape[1:3], avif=avif)
    for i in np.flatnonzero(needed & is_lossless_or_none):
        needed[i] = lossless_may_win(images[i], int(limits[i]))
    return needed


def challenger(
    pixels: Pixels, limit: int, max_mse: float, *, max_payload: int | None
) -> ClassicalBody | None:
    """The best body found within a bound on the MSE; None if none is shorter than a limit.

    The shortest one, or with ``max_payload`` the one of least error that fits. A search may be left
    out, so it may still be longer than the limit.
    """
    if max(pixels.shape) > WEBP_MAX_SIDE:
        is_small = limit >= ANY_LENGTH or lossless_may_win(pixels, limit)
        return encode_classical_lossless(pixels) if is_small else None
    if pixels.shape[0] * pixels.shape[1] >= LARGE and max_mse > 0:
        return _large_challenger(pixels, limit, max_mse, max_payload)
    if limit < ANY_LENGTH:
        is_small = lossless_may_win(pixels, limit)
        if not _webp_may_win(pixels, limit, max_mse):
            return encode_classical_lossless(pixels) if is_small else None
        if not is_small and max_payload is None:
            return encode_classical_near(pixels, max_mse, QUALITIES)
    if max_payload is None:
        return smallest_within_mse(pixels, max_mse)
    return best_within_bytes(pixels, max_payload, max_mse)


def smallest_within_mse(pixels: Pixels, max_mse: float) -> ClassicalBody:
    """The shortest body found whose MSE is not above a bound, on a scale from 0 to 1."""
    if max_mse == 0:
        return encode_classical_lossless(pixels)
    return encode_classical(pixels, max_mse)


def best_within_bytes(pixels: Pixels, max_payload: int, max_mse: float) -> ClassicalBody:
    """The best body found whose payload fits, if one does whose MSE is not above a bound.

    If none does, the shortest found within the bound.
    """
    if lossless_may_win(pixels, max_payload + 1):
        lossless = encode_classical_lossless(pixels)
        if len(lossless.payload) <= max_payload:
            return lossless
    for quality in range(_finest_within(pixels, max_payload + 1), -1, -1):
        error = _webp(pixels, quality)[1]
        if error > max_mse:
            break
        body = encode_classical(pixels, error)
        if len(body.payload) <= max_payload:
            return body
    return encode_classical(pixels, max_mse)


def _large_challenger(
    pixels: Pixels, limit: int, max_mse: float, max_payload: int | None
) -> ClassicalBody | None:
    """``challenger`` for images of which a careful encoder makes a few a second."""
    if lossless_may_win(pixels, limit):
        if max_payload is None:
            return smallest_within_mse(pixels, max_mse)
        return best_within_bytes(pixels, max_payload, max_mse)
    if max_payload is not None:
        limit = min(limit, max_payload + 1)
        quality = _finest_within(pixels, limit)
        while quality >= 0 and (body := _near(pixels, quality, quality)) is not None:
            if len(body.payload) <= max_payload:
                return body if body.mse <= max_mse else None
            quality -= 1
        return _near(pixels, 0, 0)  # the shortest, since none fits
    middle = _contested(pixels, limit, max_mse)
    if middle is None:
        return None
    body = _near(pixels, middle - _SEARCHED, middle + _SEARCHED, max_mse)
    return body or _near(pixels, QUALITIES[0], QUALITIES[-1], max_mse)


def _near(pixels: Pixels, first: int, last: int, max_mse: float = 1.0) -> ClassicalBody | None:
    qualities = range(max(first, 0), min(last, QUALITIES[-1]) + 1)
    return encode_classical_near(pixels, max_mse, qualities)


def _contested(pixels: Pixels, limit: int, max_mse: float) -> int | None:
    """A quality near which WebP meets the bound, or None if it is no shorter than the limit there.

    Few encodings tell most photographs: where a quality fails in both, those above it fail in size.
    """
    rough = Secants(max_mse * _AIM * _COARSER, start=_START)
    sample = _some_rows(pixels)
    while rough.trials < _ROUGH_TRIALS and not rough.is_near:
        rough.tell(_webp(sample, rough.quality, _FAST)[1])
    near = Secants(max_mse * _AIM, start=rough.quality, slope=rough.slope)
    is_photo = pixels.shape[0] * pixels.shape[1] >= _PHOTO
    haste = _PHOTO_HASTE if is_photo else _PIECE_HASTE
    for encoder, bound in ((_QUICK, limit * haste), *_TRIALS * ((_WEBP, limit),)):
        quality = near.quality
        size, error = _webp(pixels, quality, encoder)
        # What a quick encoder takes at equal MSE says little of the coarsest quality's size.
        is_last = quality == 0 and encoder is _WEBP
        if size >= bound and (is_last or error > max_mse * MARGIN):
            return None
        near.tell(error)
        if encoder is _WEBP and near.quality == quality:
            break
    return near.quality


def _some_rows(pixels: Pixels) -> Pixels:
    """A quarter of the rows, spread over the image."""
    whole = len(pixels) // _PERIOD * _PERIOD
    bands = pixels[:whole].reshape(-1, _PERIOD, *pixels.shape[1:])[:, : _PERIOD // 4]
    return bands.reshape(-1, *pixels.shape[1:]) if whole else pixels


def _finest_within(pixels: Pixels, limit: int) -> int:
    """The last quality of the careful encoder whose payload is shorter, -1 for none."""
    return finest_within(functools.partial(_webp, pixels), limit)


def lossless_may_win(pixels: Pixels, limit: int) -> bool:
    """Whether a lossless payload shorter than a limit may be found.

    The differences along both axes stand for what a predictor may leave. d different values, each
    sent once at least by a prefix code, take d log2(d) bits (Kraft's inequality); and plain
    DEFLATE is not worse than the best by more than a factor, but where a picture repeats itself:
    there WebP is asked.
    """
    predicted = _predicted(pixels)
    if not all(x.size for x in predicted):  # a single row or column
        return True
    if limit <= _FEW:
        fewest = min(int(np.count_nonzero(np.bincount(x.ravel()))) for x in predicted)
        if fewest * math.log2(fewest) >= 8 * limit:
            return False
    is_large = pixels.shape[0] * pixels.shape[1] >= LARGE
    # The fastest level of DEFLATE is within the factor too.
    effort = 1 if is_large else zlib.Z_DEFAULT_COMPRESSION
    most = math.ceil(_HURRY * limit)
    if any(_deflates_within(x, most, effort) for x in predicted):
        return True
    if not _repeats_itself(pixels, is_large=is_large):
        return False
    if max(pixels.shape) > WEBP_MAX_SIDE:
        return True
    file = _LOSSLESS.encode(pixels, _LOSSLESS_QUALITY, "")
    return len(file) - _CONTAINER < _LOSSLESS_HASTE * limit


def _predicted(pixels: Pixels) -> tuple[npt.NDArray[np.uint8], ...]:
    """The rows, their differences along them, and along both axes."""
    channels = pixels.shape[2]
    rows = pixels.reshape(len(pixels), -1)
    along = rows[:, channels:] - rows[:, :-channels]
    return rows, along, along[1:] - along[:-1]


def _repeats_itself(pixels: Pixels, *, is_large: bool) -> bool:
    sample = _some_rows(pixels) if is_large else pixels
    limit = sample.size // (_REGULAR if is_large else _SMALL_REGULAR)
    return any(_deflates_within(x, limit, 1) for x in _predicted(sample))


def _deflates_within(x: npt.NDArray[np.uint8], limit: int, effort: int) -> bool:
    """Whether plain DEFLATE is shorter; it stops where it is not."""
    engine = zlib.compressobj(effort, wbits=-15)
    size = 0
    for first in range(0, len(x), _PERIOD):
        size += len(engine.compress(x[first : first + _PERIOD].tobytes()))
        if size >= limit:
            return False
    return size + len(engine.flush()) < limit


def _webp_may_win(pixels: Pixels, limit: int, max_mse: float) -> bool:
    """Bisect the quality of lossy WebP to one that wins, or that fails in both size and MSE."""
    if limit <= lossy_floor(*pixels.shape[:2], avif=False):
        return False
    if len(_FASTEST.encode(pixels, 0, "")) - _CONTAINER >= limit * _HASTE:
        return False
    return may_win(functools.partial(_webp, pixels), limit, max_mse)


def _webp(pixels: Pixels, quality: int, encoder: LossyBaseline = _WEBP) -> tuple[int, float]:
    """The size of a WebP file's payload, or a byte less, and its MSE."""
    data = encoder.encode(pixels, quality, "")
    return len(data) - _CONTAINER, mse(pixels, encoder.decode(data, pixels.shape))
