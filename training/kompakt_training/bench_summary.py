"""One line for each codec of a benchmark: its rate beside JPEG's, and its memory."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kompakt_training.bd_rate import BdRate, NoOverlapError, RatePoint, bd_rate
from kompakt_training.bench_measure import BenchPoint
from kompakt_training.bench_published import PublishedPoint

ANCHOR = "jpeg"
ANCHOR_VARIANTS = ("", "4:2:0")
"""Sequential JPEG with optimised Huffman tables: grey, and RGB with 4:2:0."""
BITS_PER_PIXEL = (0.15, 1.5)
"""Of JPEG: the range that rates are compared over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecSummary:
    """A codec over all of its settings."""

    codec: str
    is_published: bool
    bd_rate: BdRate | None
    """Beside JPEG; None if the two curves cannot be compared."""
    bd_rate_reason: str | None
    """Why not."""
    peak_memory_mib: float | None


def summaries(
    points: Sequence[BenchPoint],
    published: Sequence[PublishedPoint],
    memory: Mapping[str, float | None],
) -> list[CodecSummary]:
    """Of each codec in its order; ``memory`` in MiB by codec."""
    anchor = rate_points(point for point in points if _is_anchor(point))
    curves = {name: rate_points(p for p in points if p.codec == name) for name in _names(points)}
    others = {
        name: [point.rate_point for point in published if point.codec == name]
        for name in _names(published)
    }
    return [
        *(_summary(name, anchor, curve, memory.get(name)) for name, curve in curves.items()),
        *(_summary(name, anchor, curve, None, published=True) for name, curve in others.items()),
    ]


def rate_points(points: Iterable[BenchPoint]) -> list[RatePoint]:
    """The means of each image's rate and PSNR, where no image came back unchanged."""
    return [
        RatePoint(point.bits_per_pixel_mean, point.psnr_mean_db)
        for point in points
        if math.isfinite(point.psnr_mean_db)
    ]


def _is_anchor(point: BenchPoint) -> bool:
    variant = point.setting.partition(" ")[2]
    return point.codec == ANCHOR and variant in ANCHOR_VARIANTS


def _names(points: Sequence[BenchPoint] | Sequence[PublishedPoint]) -> list[str]:
    return list(dict.fromkeys(point.codec for point in points))


def _summary(
    codec: str,
    anchor: Sequence[RatePoint],
    curve: Sequence[RatePoint],
    memory: float | None,
    *,
    published: bool = False,
) -> CodecSummary:
    found, reason = None, None
    try:
        found = bd_rate(anchor, curve, bits_per_pixel=BITS_PER_PIXEL)
    except NoOverlapError as exc:
        reason = str(exc)
    return CodecSummary(
        codec=codec,
        is_published=published,
        bd_rate=found,
        bd_rate_reason=reason,
        peak_memory_mib=memory,
    )
