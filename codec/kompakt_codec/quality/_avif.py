"""AVIF's part in a thorough contest: it takes seconds of a core for a photograph."""

from kompakt_codec.baselines import BASELINES, LossyBaseline
from kompakt_codec.classical import ClassicalBody, avif_body, encode_classical_avif
from kompakt_codec.images import Pixels
from kompakt_codec.quality._demand import GUARD
from kompakt_codec.quality._qualities import finest_within, may_win
from kompakt_codec.quality._rival import HUGE

_baseline = BASELINES["avif"]
assert isinstance(_baseline, LossyBaseline)
_AVIF = _baseline


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
    is_huge = pixels.shape[0] * pixels.shape[1] >= HUGE
    if not bound or is_huge or max(pixels.shape) > _AVIF.max_side:
        return other
    if max_payload is not None:
        bodies = _finest_within_bytes(pixels, max_payload, bound)
        bodies += [] if other is None else [other]
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


def _finest_within_bytes(pixels: Pixels, max_payload: int, max_mse: float) -> list[ClassicalBody]:
    """Of each variant the finest that fits, or else the coarsest, if that is within the bound."""
    bodies = []
    for variant in _AVIF.variants(pixels.shape[2]):
        tried = _Tried(pixels, variant)
        bodies.append(tried.body(max(finest_within(tried, max_payload + 1), 0)))
    return [body for body in bodies if body.mse <= max_mse]


class _Tried:
    """The size of a payload and its MSE at a quality."""

    def __init__(self, pixels: Pixels, variant: str) -> None:
        self._pixels, self._variant = pixels, variant
        self._bodies: dict[int, ClassicalBody] = {}

    def __call__(self, quality: int) -> tuple[int, float]:
        body = self.body(quality)
        return len(body.payload), body.mse

    def body(self, quality: int) -> ClassicalBody:
        """Encoded once."""
        if quality not in self._bodies:
            file = _AVIF.encode(self._pixels, quality, self._variant)
            self._bodies[quality] = avif_body(file, self._pixels)
        return self._bodies[quality]
