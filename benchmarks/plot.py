"""Draws a run's results: calls of one image beside the floor and the peers, and many images."""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.plan import DIRECTIONS
from benchmarks.report import commit_of
from benchmarks.serving import RESULTS

_COLOURS = {"compress": "#1f6f8b", "decompress": "#e0a458"}
_ONE_IMAGE = {
    "empty handler": ("service", "empty64"),
    "Kompakt": ("service", "unary64"),
    "mosec*": ("mosec", "peer64"),
    "PyTriton*": ("pytriton", "peer64"),
    "LitServe*": ("litserve", "peer64"),
    "Ray Serve*": ("ray", "peer64"),
}
_MANY_IMAGES = {
    "bare codec": ("service", "bare"),
    "Kompakt, 64 a call": ("service", "batch64"),
    "Kompakt, streams": ("service", "stream64"),
    "CompressAI's loop": ("compressai", "compressai"),
}


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Write the figure in the format of the path's suffix."""
    mpl.rcParams["svg.hashsalt"] = "kompakt"  # the same results give the same file
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _bars(left, results, _ONE_IMAGE)
    left.set_title("one image a call, 64 in flight")
    _bars(right, results, _MANY_IMAGES)
    right.set_title("many images")
    right.legend(loc="lower right", frameon=False)
    figure.supxlabel(
        "images/s on one core, 28x28; * the bare transforms, without entropy coding\n"
        f"{results['machine']['processor']}, {results['date'][:10]}, {commit_of(results)}",
        fontsize=8,
    )
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _bars(axes: Axes, results: Mapping[str, Any], rows: Mapping[str, tuple[str, str]]) -> None:
    present = {label: row for label, row in rows.items() if row[0] in results["blocks"]}
    for number, direction in enumerate(DIRECTIONS):
        rates = [_rate(results, direction, *row) for row in present.values()]
        places = [at + 0.38 * number for at in range(len(present))]
        bars = axes.barh(places, rates, 0.36, color=_COLOURS[direction], label=direction)
        axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3, fontsize=8)
    axes.set_yticks([at + 0.19 for at in range(len(present))], list(present))
    axes.invert_yaxis()
    axes.margins(x=0.18)
    axes.spines[["top", "right"]].set_visible(False)


def _rate(results: Mapping[str, Any], direction: str, block: str, name: str) -> float:
    samples = results["blocks"][block][direction].get(name, [])
    return statistics.median(sample["images_per_second"] for sample in samples) if samples else 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the results of a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__)
    parser.add_argument("out", type=Path, help="picture to write, .svg or .png")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args(argv)
    draw(json.loads(arguments.results.read_text()), arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
