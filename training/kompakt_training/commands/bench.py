"""``kompakt bench rd``: models beside every classical codec, rate, distortion and speed."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kompakt_codec.baselines import BASELINES
from kompakt_training.arguments import add_data_dir, given_path, positive, tile_side
from kompakt_training.bench_published import PUBLISHED_TABLES
from kompakt_training.catalogue import FOLDER_PREFIX, PUBLISHED
from kompakt_training.terminal import Parser, run_command

_DESCRIPTION = "Measure models and classical codecs on the same images, from real streams."
_RD_DESCRIPTION = """\
Rate, distortion and speed of every rate level of every model that accepts the images, and of every
classical codec at several settings: as JSON, as CSV, as a plot and as pictures. Rates and
distortions are the same on every run; speeds and memory are not, so --no-timings makes whole files
the same to the byte.
"""


def main(argv: list[str]) -> int:
    """Run the command with its arguments; the process's exit status."""
    parser = Parser(prog="kompakt bench", description=_DESCRIPTION)
    benchmarks = parser.add_subparsers(title="benchmarks", metavar="BENCHMARK", required=True)
    rd = benchmarks.add_parser("rd", help="rate and distortion", description=_RD_DESCRIPTION)
    _add_arguments(rd)
    return run_command(parser, lambda _, args: _bench(rd, args), argv)


def _bench(parser: Parser, args: argparse.Namespace) -> None:
    from kompakt_training.bench import bench

    bench(parser, args)


def _add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    names = "|".join(PUBLISHED)
    add(
        "--data",
        required=True,
        metavar=f"{names}|{FOLDER_PREFIX}PATH|DIR",
        help=f"a set's test part ({FOLDER_PREFIX}PATH: that of a training on it), or all images "
        "of a directory, of any sizes",
    )
    add("--models", type=given_path, required=True, metavar="DIR", help="where the checkpoints lie")
    add(
        "--json",
        type=_json_path,
        required=True,
        metavar="OUT.json",
        help="what to write; OUT.csv, OUT.png and OUT.html come beside it",
    )
    add("--images", type=positive, metavar="N", help="measure on a fixed sample of N images")
    add(
        "--profile",
        choices=("embedded", "file"),
        default="embedded",
        metavar="embedded|file",
        help="the models' frames (default: embedded)",
    )
    add(
        "--baselines",
        type=_baselines,
        default=tuple(BASELINES),
        metavar="NAME,…",
        help=f"measure only some of the classical codecs: {','.join(BASELINES)}",
    )
    add(
        "--crop", type=tile_side, metavar="N", help="cut a folder's images into tiles of NxN pixels"
    )
    add_data_dir(parser)
    add("--no-timings", action="store_true", help="leave speeds and memory empty")
    add(
        "--published",
        choices=tuple(PUBLISHED_TABLES),
        help="others' published figures beside those measured, if --data are the very images",
    )


def _json_path(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".json":
        raise argparse.ArgumentTypeError("must end in .json: the other files lie beside it")
    return path


def _baselines(text: str) -> Sequence[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in BASELINES:
            raise argparse.ArgumentTypeError(
                f"no codec {name!r}: choose from {','.join(BASELINES)}"
            )
    return [name for name in BASELINES if name in names]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
