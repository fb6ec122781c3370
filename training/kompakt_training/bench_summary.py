"""One line for each codec of a benchmark: its rate beside JPEG's, and its memory."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kompakt_training.bd_rate import BdRate, NoOverlapError, RatePoint, bd_rate
from kompakt_training.bench_measure import BenchPoint
from kompakt_training.bench_published import PublishedPoint

BITS_PER_PIXEL = (0.15, 1.5)
"""Of JPEG: the range that rates are compared over."""

_ANCHOR = "jpeg"
_ANCHOR_VARIANTS = ("", "4:2:0")
"""Sequential JPEG with optimised Huffman tables: grey, and RGB with 4:2:0."""

_Curves = Mapping[str, Sequence[RatePoint]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecSummary:
    """A codec over all of its settings."""

    codec: str
    is_published: bool
    bd_rate: BdRate | None
    """Beside JPEG, that of its best variant; None if the curves cannot be compared."""
    variant: str | None
    """The best variant; empty where there is only one."""
    bd_rate_reason: str | None
    """Why there is no rate beside JPEG's."""
    peak_memory_mib: float | None


def summaries(
    points: Sequence[BenchPoint],
    published: Sequence[PublishedPoint],
    memory: Mapping[str, float | None],
) -> list[CodecSummary]:
    """Of each codec in its order; ``memory`` in MiB by codec."""
    codecs = {name: _variants(name, points) for name in _names(points)}
    anchors = codecs.get(_ANCHOR, {})
    anchor = next((anchors[name] for name in _ANCHOR_VARIANTS if name in anchors), [])
    others = {
        name: {"": [point.rate_point for point in published if point.codec == name]}
        for name in _names(published)
    }
    return [
        *(_summary(name, anchor, curves, memory.get(name)) for name, curves in codecs.items()),
        *(_summary(name, anchor, curves, None, published=True) for name, curves in others.items()),
    ]


def _variants(codec: str, points: Sequence[BenchPoint]) -> _Curves:
    """Each variant's means of the images' rates and PSNR, where no image came back unchanged."""
    curves: dict[str, list[RatePoint]] = {}
    for point in points:
        if point.codec != codec or not math.isfinite(point.psnr_mean_db):
            continue
        curve = curves.setdefault(point.variant, [])
        curve.append(RatePoint(point.bits_per_pixel_mean, point.psnr_mean_db))
    return curves


def _names(points: Sequence[BenchPoint] | Sequence[PublishedPoint]) -> list[str]:
    return list(dict.fromkeys(point.codec for point in points))


def _summary(
    codec: str,
    anchor: Sequence[RatePoint],
    curves: _Curves,
    memory: float | None,
    *,
    published: bool = False,
) -> CodecSummary:
    found: dict[str, BdRate] = {}
    reason = "no setting whose PSNR is finite"
    for variant, curve in curves.items():
        try:
            found[variant] = bd_rate(anchor, curve, bits_per_pixel=BITS_PER_PIXEL)
        except NoOverlapError as exc:
            reason = str(exc)
    best = min(found, key=lambda variant: found[variant].percent, default=None)
    return CodecSummary(
        codec=codec,
        is_published=published,
        bd_rate=None if best is None else found[best],
        variant=best,
        bd_rate_reason=reason if best is None else None,
        peak_memory_mib=memory,
    )
