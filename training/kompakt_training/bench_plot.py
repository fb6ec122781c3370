"""Rate-distortion curves of a benchmark as a picture."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from kompakt_codec.baselines import BASELINES, LossyBaseline
from kompakt_training.curves import Point, front

_DPI = 150
_MODEL_COLOURS = ("#0b6e99", "#c1440e", "#1a936f", "#7b2d8b", "#d4a017", "#222222")
_BASELINE_STYLES = (("#b0752a", "--"), ("#4f8f4a", "-."), ("#8a5fa8", ":"), ("#777777", "-"))
_LOSSLESS_COLOUR = "#808080"

_Curve = Sequence[Point]


def plot_rate_distortion(points: Sequence[Point], *, title: str) -> bytes:
    """A PNG of PSNR over bytes an image, log scale: each codec's best settings, models bold.

    Lossless codecs, whose PSNR is infinite, are upright lines. The same points give the same file.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    _draw_models(axes, [_of(name, points) for name in _names(points) if name not in BASELINES])
    baselines = [name for name in _names(points) if name in BASELINES]
    lossy = [name for name in baselines if isinstance(BASELINES[name], LossyBaseline)]
    _draw_lossy(axes, [_of(name, points) for name in lossy])
    _draw_lossless(axes, [_of(name, points)[0] for name in baselines if name not in lossy])
    _label(axes, title)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=_DPI, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _names(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(point.codec for point in points))


def _of(name: str, points: Sequence[Point]) -> _Curve:
    return front(point for point in points if point.codec == name)


def _draw_models(axes: Axes, curves: Sequence[_Curve]) -> None:
    for index, curve in enumerate(curves):
        colour = _MODEL_COLOURS[index % len(_MODEL_COLOURS)]
        _draw(axes, curve, color=colour, marker="o", linewidth=3, markersize=6, zorder=3)


def _draw_lossy(axes: Axes, curves: Sequence[_Curve]) -> None:
    for index, curve in enumerate(curves):
        colour, dashes = _BASELINE_STYLES[index % len(_BASELINE_STYLES)]
        _draw(axes, curve, color=colour, marker=".", linestyle=dashes, linewidth=1)


def _draw(axes: Axes, curve: _Curve, **style: Any) -> None:
    finite = [point for point in curve if point.mse]
    sizes = [point.bytes_per_image for point in finite]
    axes.plot(sizes, [point.psnr_db for point in finite], label=curve[0].codec, **style)


def _draw_lossless(axes: Axes, points: Sequence[Point]) -> None:
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


def _label(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("bytes an image")
    axes.set_ylabel("PSNR, dB")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
