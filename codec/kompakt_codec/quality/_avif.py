"""AVIF's part in a thorough contest: it takes seconds of a core for a photograph."""

from kompakt_codec.baselines import BASELINES, LossyBaseline
from kompakt_codec.classical import ClassicalBody, avif_body, encode_classical_avif
from kompakt_codec.images import Pixels
from kompakt_codec.metrics import mse
from kompakt_codec.quality._demand import GUARD
from kompakt_codec.quality._rival import HUGE, finest_within, may_win

_baseline = BASELINES["avif"]
assert isinstance(_baseline, LossyBaseline)
_AVIF = _baseline
_NAME = 1
"""Bytes of a payload that name the codec."""


def best_with_avif(
    pixels: Pixels,
    limit: int,
    max_mse: float,
    other: ClassicalBody | None,
    *,
    max_payload: int | None,
) -> ClassicalBody | None:
    """The better of the other codecs' body and AVIF's; see ``challenger``.

    Raises BaselineUnavailableError if Pillow lacks AVIF.
    """
    bound = max_mse * (1 - GUARD)
    if not bound or pixels.shape[0] * pixels.shape[1] >= HUGE:
        return other
    _AVIF.require()
    if max_payload is not None:
        made = _best_within_bytes(pixels, max_payload, bound)
        bodies = [body for body in (made, other) if body is not None]
        fitting = [body for body in bodies if len(body.payload) <= max_payload]
        if fitting:
            return min(fitting, key=lambda body: (body.mse, len(body.payload)))
        return min(bodies, key=lambda body: len(body.payload), default=None)
    if other is not None:
        limit = min(limit, len(other.payload))
    variants = _AVIF.variants(pixels.shape[2])
    if not any(may_win(_Tried(pixels, variant), limit, bound) for variant in variants):
        return other
    body = encode_classical_avif(pixels, bound)
    return body if body is not None and len(body.payload) < limit else other


def _best_within_bytes(pixels: Pixels, max_payload: int, max_mse: float) -> ClassicalBody | None:
    """Of least error, of those that fit; None if none does within the bound."""
    bodies = []
    for variant in _AVIF.variants(pixels.shape[2]):
        quality = finest_within(_Tried(pixels, variant), max_payload + 1)
        if quality >= 0:
            bodies.append(avif_body(_AVIF.encode(pixels, quality, variant), pixels))
    best = min(bodies, key=lambda body: body.mse, default=None)
    return best if best is not None and best.mse <= max_mse else None


class _Tried:
    """The size of a payload and its MSE at a quality."""

    def __init__(self, pixels: Pixels, variant: str) -> None:
        self._pixels, self._variant = pixels, variant

    def __call__(self, quality: int) -> tuple[int, float]:
        data = _AVIF.encode(self._pixels, quality, self._variant)
        return _NAME + len(data), mse(self._pixels, _AVIF.decode(data, self._pixels.shape))
