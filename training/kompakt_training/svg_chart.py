"""A rate-distortion chart as inline SVG with its legend, coloured by the page's style sheet."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 34, 48
_ROOM_BELOW_DB, _ROOM_ABOVE_DB = 3.0, 6.0
_LOG_ROOM = 0.06
_RADIUS = 4.0
_MIN_TICKS = 3
_TICK_FACTORS = (
    (1, 2, 5),
    (1, 1.5, 2, 3, 4, 5, 7),
    [n / 4 for n in range(4, 40)],
    [n / 10 for n in range(10, 100)],
)
"""Within a power of ten, from the widest range of rates to the narrowest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A rate in bytes, above 0, a quality in dB, and what to say when pointed at."""

    num_bytes: float
    psnr_db: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The dots of one codec from the smallest rate on, and the style sheet's name for it."""

    name: str
    style: str
    dots: Sequence[Dot]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A rate in bytes without error, shown at the upper edge; a chart has room for two."""

    name: str
    num_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """Bytes on a logarithmic axis and dB on a linear one, to the drawing's units."""

    low_bytes: float
    high_bytes: float
    low_db: float
    high_db: float

    def x(self, num_bytes: float) -> float:
        span = math.log(self.high_bytes / self.low_bytes)
        part = math.log(num_bytes / self.low_bytes) / span
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def y(self, psnr_db: float) -> float:
        part = (psnr_db - self.low_db) / (self.high_db - self.low_db)
        return _HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM)


def rate_distortion_chart(ours: Line, others: Sequence[Line], marks: Sequence[Mark]) -> str:
    """Draw our codec's line over the others', in a frame around ours.

    Without a dot of finite dB among ours there is nothing to draw, and the text is empty.
    """
    mine = [dot for dot in ours.dots if math.isfinite(dot.psnr_db)]
    if not mine:
        return ""
    low_db = min(dot.psnr_db for dot in mine) - _ROOM_BELOW_DB
    high_db = max(dot.psnr_db for dot in mine) + _ROOM_ABOVE_DB
    dots = [d for line in (ours, *others) for d in line.dots if low_db <= d.psnr_db <= high_db]
    rates = [dot.num_bytes for dot in dots] + [mark.num_bytes for mark in marks]
    room = (max(rates) / min(rates)) ** _LOG_ROOM * 1.05
    scale = _Scale(
        low_bytes=min(rates) / room, high_bytes=max(rates) * room, low_db=low_db, high_db=high_db
    )
    parts = [
        *_axes(scale),
        *_marks(scale, marks),
        '<g clip-path="url(#plot)">',
        *(part for line in (*others, ours) for part in _line(scale, line)),
        "</g>",
    ]
    drawing = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Quality over size: '
        f'{escape(ours.name)} and the classical codecs">{"".join(parts)}</svg>'
    )
    return f'<div class="wide">{drawing}</div>{_legend((ours, *others))}'


def _legend(lines: Sequence[Line]) -> str:
    items = "".join(
        f'<li><svg viewBox="0 0 32 12" aria-hidden="true"><g class="line {line.style}">'
        f'<path d="M1 6H31"/><circle cx="16" cy="6" r="{_RADIUS}"/></g></svg>'
        f"{escape(line.name)}</li>"
        for line in lines
    )
    return f'<ul class="legend">{items}</ul>'


def _axes(scale: _Scale) -> Iterable[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    yield (
        f'<clipPath id="plot"><rect x="{_LEFT}" y="{_TOP}" width="{right - _LEFT}" '
        f'height="{bottom - _TOP}"/></clipPath>'
    )
    for psnr_db in _db_ticks(scale.low_db, scale.high_db):
        y = scale.y(psnr_db)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>'
        yield _text(_LEFT - 8, y + 4, f"{psnr_db}", anchor="end")
    for num_bytes in _byte_ticks(scale.low_bytes, scale.high_bytes):
        x = scale.x(num_bytes)
        yield f'<path class="grid" d="M{x:.1f} {_TOP}V{bottom}"/>'
        yield _text(x, bottom + 18, f"{num_bytes:,g}")
    yield _text((_LEFT + right) / 2, _HEIGHT - 8, "bytes an image, logarithmic")
    yield _text(_LEFT - 40, _TOP - 18, "PSNR, dB", anchor="start")


def _marks(scale: _Scale, marks: Sequence[Mark]) -> Iterable[str]:
    """A tick for each at the upper edge; labels point away from one another."""
    ordered = sorted(marks, key=lambda mark: mark.num_bytes)
    for index, mark in enumerate(ordered):
        x = scale.x(mark.num_bytes)
        title = escape(f"{mark.name}: {mark.num_bytes:,.1f} bytes, lossless")
        yield f'<path class="mark" d="M{x:.1f} {_TOP - 6}v12"><title>{title}</title></path>'
        yield _text(x, _TOP - 12, mark.name, anchor="start" if index else "end")


def _line(scale: _Scale, line: Line) -> Iterable[str]:
    dots = [dot for dot in line.dots if math.isfinite(dot.psnr_db)]
    places = [(scale.x(dot.num_bytes), scale.y(dot.psnr_db)) for dot in dots]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    yield f'<g class="line {line.style}"><path d="M{path}"/>'
    for (x, y), dot in zip(places, dots, strict=True):
        title = escape(dot.title)
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}"><title>{title}</title></circle>'
    yield "</g>"


def _text(x: float, y: float, text: str, *, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _db_ticks(low: float, high: float) -> list[int]:
    step = next(step for step in (1, 2, 5, 10, 20, 50) if (high - low) / step <= 8)
    return list(range(math.ceil(low / step) * step, math.floor(high) + 1, step))


def _byte_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for factors in _TICK_FACTORS:
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= _MIN_TICKS:
            break
    return ticks
