"""Rate-distortion curves of a benchmark as a picture."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from kompakt_codec.baselines import BASELINES, LossyBaseline
from kompakt_training.bench_measure import BenchPoint
from kompakt_training.bench_published import PublishedPoint
from kompakt_training.curves import front

_DPI = 150
_MODEL_COLOURS = ("#0b6e99", "#c1440e", "#1a936f", "#7b2d8b", "#d4a017", "#222222")
_BASELINE_STYLES = (
    ("#b0752a", "--"),
    ("#4f8f4a", "-."),
    ("#8a5fa8", ":"),
    ("#777777", "-"),
    ("#2f8f8f", (0, (5, 1, 1, 1, 1, 1))),
)
_LOSSLESS_COLOUR = "#808080"
_PUBLISHED_COLOUR = "#444444"

_PUBLISHED_MARKERS = ("v", "s", "D", "^")

_Curve = Sequence[BenchPoint]


def plot_rate_distortion(
    points: Sequence[BenchPoint], published: Sequence[PublishedPoint] = (), *, title: str
) -> bytes:
    """A PNG of PSNR over bytes an image, log scale: each variant's best settings, models bold.

    Lossless codecs, whose PSNR is infinite, are upright lines. Beside published figures, which are
    means of each image's PSNR, those are shown of all. The same points give the same file.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    chart = _Chart(figure.subplots(), shows_mean=bool(published))
    chart.draw_models([_of(name, points) for name in _names(points) if name not in BASELINES])
    baselines = [name for name in _names(points) if name in BASELINES]
    lossy = [name for name in baselines if isinstance(BASELINES[name], LossyBaseline)]
    chart.draw_lossy([_variants(name, points) for name in lossy])
    pixels_per_image = 8 * points[0].bytes_per_image / points[0].bits_per_pixel
    chart.draw_published(published, pixels_per_image)
    _draw_lossless(chart.axes, [_of(name, points)[0] for name in baselines if name not in lossy])
    chart.label(title, pixels_per_image)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=_DPI, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _names(points: Sequence[BenchPoint] | Sequence[PublishedPoint]) -> list[str]:
    return list(dict.fromkeys(point.codec for point in points))


def _of(name: str, points: Sequence[BenchPoint]) -> _Curve:
    return front(point for point in points if point.codec == name)


def _variants(name: str, points: Sequence[BenchPoint]) -> list[_Curve]:
    own = [point for point in points if point.codec == name]
    variants = dict.fromkeys(point.variant for point in own)
    return [front(point for point in own if point.variant == variant) for variant in variants]


@dataclass(frozen=True, slots=True)
class _Chart:
    axes: Axes
    shows_mean: bool
    """The mean of each image's PSNR instead of that of the pooled MSE."""

    def draw_models(self, curves: Sequence[_Curve]) -> None:
        for index, curve in enumerate(curves):
            colour = _MODEL_COLOURS[index % len(_MODEL_COLOURS)]
            self._draw(
                curve,
                label=curve[0].codec,
                color=colour,
                marker="o",
                linewidth=3,
                markersize=6,
                zorder=3,
            )

    def draw_lossy(self, codecs: Sequence[Sequence[_Curve]]) -> None:
        for index, curves in enumerate(codecs):
            colour, dashes = _BASELINE_STYLES[index % len(_BASELINE_STYLES)]
            for number, curve in enumerate(curves):
                label = None if number else curve[0].codec
                style = {"color": colour, "marker": ".", "linestyle": dashes, "linewidth": 1}
                self._draw(curve, label=label, **style)

    def draw_published(self, points: Sequence[PublishedPoint], pixels_per_image: float) -> None:
        for index, name in enumerate(_names(points)):
            curve = [point for point in points if point.codec == name]
            self.axes.plot(
                [point.bits_per_pixel_mean * pixels_per_image / 8 for point in curve],
                [point.psnr_mean_db for point in curve],
                label=f"{name}, published",
                color=_PUBLISHED_COLOUR,
                marker=_PUBLISHED_MARKERS[index % len(_PUBLISHED_MARKERS)],
                markersize=4,
                linewidth=0.8,
            )

    def label(self, title: str, pixels_per_image: float) -> None:
        axes = self.axes
        axes.set_title(title)
        axes.set_xscale("log")
        axes.set_xlabel("bytes an image")
        axes.set_ylabel("mean PSNR of the images, dB" if self.shows_mean else "PSNR, dB")
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
        bits = 8 / pixels_per_image
        top = axes.secondary_xaxis(
            "top",
            functions=(lambda x: np.multiply(x, bits), lambda x: np.divide(x, bits)),
        )
        top.set_xlabel("bits a pixel")
        for axis in (axes.xaxis, top.xaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.9g}"))
            axis.set_minor_formatter(NullFormatter())

    def _draw(self, curve: _Curve, **style: Any) -> None:
        psnrs = [p.psnr_mean_db if self.shows_mean else p.psnr_db for p in curve]
        finite = [pair for pair in zip(curve, psnrs, strict=True) if math.isfinite(pair[1])]
        sizes = [point.bytes_per_image for point, _ in finite]
        self.axes.plot(sizes, [psnr for _, psnr in finite], **style)


def _draw_lossless(axes: Axes, points: _Curve) -> None:
    for index, point in enumerate(points):
        size, label = point.bytes_per_image, None if index else "lossless"
        axes.axvline(size, color=_LOSSLESS_COLOUR, linewidth=0.8, zorder=1, label=label)
        axes.text(
            size,
            0.02 + 0.2 * index,  # lines can lie close together
            point.codec,
            transform=axes.get_xaxis_transform(),
            rotation="vertical",
            horizontalalignment="center",
            verticalalignment="bottom",
            fontsize=8,
            color=_LOSSLESS_COLOUR,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
