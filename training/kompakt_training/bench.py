"""``kompakt bench rd``: models beside every classical codec, rate, distortion and speed.

Every figure is of real streams, one for each image, all decoded again (docs/bench.md).
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console

from kompakt_codec.allocator import keep_large_blocks
from kompakt_codec.baselines import BASELINES
from kompakt_codec.checkpoint import SUFFIX
from kompakt_codec.codec import Codec
from kompakt_codec.errors import BaselineUnavailableError, CheckpointError
from kompakt_codec.frame import Profile
from kompakt_training.bench_data import BenchImages, load_bench_images
from kompakt_training.bench_measure import BenchPoint, baseline_coders, measure, model_coders
from kompakt_training.bench_output import Bench, to_table, write_bench
from kompakt_training.data import FOLDER_PREFIX
from kompakt_training.errors import TrainingError
from kompakt_training.imageset import Images
from kompakt_training.progress import say
from kompakt_training.published import DATA_DIR_VARIABLE, PUBLISHED
from kompakt_training.terminal import Parser, run_command
from kompakt_training.tiles import MAX_SIDE, MIN_SIDE

_DESCRIPTION = "Measure models and classical codecs on the same images, from real streams."
_RD_DESCRIPTION = """\
Rate, distortion and speed of every rate level of every model that accepts the images, and of every
classical codec at several settings: as JSON, as CSV and as a plot. Rates and distortions are the
same on every run; speeds are not, so --no-timings makes whole files the same to the byte.
"""
_INTERRUPT_HINT = "nothing was written"


def main(argv: list[str]) -> int:
    """Run the command with its arguments; the process's exit status."""
    parser = Parser(prog="kompakt bench", description=_DESCRIPTION)
    benchmarks = parser.add_subparsers(title="benchmarks", metavar="BENCHMARK", required=True)
    rd = benchmarks.add_parser("rd", help="rate and distortion", description=_RD_DESCRIPTION)
    _add_arguments(rd)
    return run_command(parser, lambda args: _bench(rd, args), argv, on_interrupt=_INTERRUPT_HINT)


def _add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    names = "|".join(PUBLISHED)
    add(
        "--data",
        required=True,
        metavar=f"{names}|{FOLDER_PREFIX}PATH|DIR",
        help=f"a set's test part ({FOLDER_PREFIX}PATH: that of a training on it), or all images "
        "of a directory, of one size",
    )
    add("--models", type=Path, required=True, metavar="DIR", help="where the checkpoints lie")
    add(
        "--json",
        type=_json_path,
        required=True,
        metavar="OUT.json",
        help="what to write; OUT.csv and OUT.png come beside it",
    )
    add("--images", type=_positive, metavar="N", help="measure on a fixed sample of N images")
    add(
        "--profile",
        type=Profile,
        choices=tuple(Profile),
        default=Profile.EMBEDDED,
        metavar="embedded|file",
        help="the models' frames (default: embedded)",
    )
    add("--crop", type=_side, metavar="N", help="cut a folder's images into tiles of NxN pixels")
    add(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help=f"where the published sets lie (default: {DATA_DIR_VARIABLE}, else downloaded)",
    )
    add("--no-timings", action="store_true", help="leave the speeds empty")


def _json_path(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".json":
        raise argparse.ArgumentTypeError("must end in .json: the CSV and the plot lie beside it")
    return path


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _side(text: str) -> int:
    value = int(text)
    if not MIN_SIDE <= value <= MAX_SIDE:
        raise argparse.ArgumentTypeError(f"must be {MIN_SIDE} to {MAX_SIDE} pixels, not {value}")
    return value


def _bench(parser: Parser, args: argparse.Namespace) -> None:
    keep_large_blocks()
    is_published = args.data in PUBLISHED
    if args.crop and is_published:
        parser.error("--crop is for folders, the published sets' images stay whole")
    if args.data_dir and not is_published:
        parser.error("--data-dir is for the published sets: a folder's path stands in --data")
    console = Console()
    loaded = load_bench_images(args.data, args.data_dir, crop=args.crop, max_images=args.images)
    for note in loaded.notes:
        say(console, note)
    codecs = _load_codecs(args.models, loaded, console)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    say(console, f"measuring on {len(loaded.images)} images of {loaded.name}, {loaded.size} …")
    with _one_thread():
        points = _measure_models(codecs, loaded.images, args.profile, console)
        points += _measure_baselines(loaded.images, console)
    bench = Bench(
        data=loaded.name,
        num_images=len(loaded.images),
        image=loaded.size,
        profile=args.profile,
        points=points,
        has_timings=not args.no_timings,
    )
    written = write_bench(args.json, bench)
    console.print(to_table(bench))
    say(console, f"wrote {', '.join(map(str, written))}")


def _load_codecs(directory: Path, data: BenchImages, console: Console) -> list[Codec]:
    """The models that accept the images, by their files' names; says which are left out and why."""
    paths = sorted(directory.glob(f"*{SUFFIX}"))
    if not paths:
        raise TrainingError(f"no checkpoint (*{SUFFIX}) in {directory}")
    codecs: dict[str, Codec] = {}
    reasons = []
    for path in paths:
        try:
            codec = Codec.load(path)
        except CheckpointError as exc:
            reasons.append(str(exc))
            continue
        header = codec.header
        if not _accepts(codec, data):
            reasons.append(f"{header.name} is for images of {codec.describe_sizes()}")
        elif header.name in codecs:
            raise TrainingError(f"{path}: a second model named {header.name!r}")
        else:
            codecs[header.name] = codec
    if not codecs:
        raise TrainingError(
            f"no model in {directory} accepts images of {data.size}: {'; '.join(reasons)}"
        )
    for reason in reasons:
        say(console, f"left out: {reason}")
    return list(codecs.values())


def _accepts(codec: Codec, data: BenchImages) -> bool:
    height, width, channels = data.images.shape[1:]
    return (height, width) in codec.sizes and channels == codec.header.channels


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measure_models(
    codecs: Sequence[Codec], images: Images, profile: Profile, console: Console
) -> list[BenchPoint]:
    points = []
    for codec in codecs:
        say(console, f"  {codec.header.name}, {_counted(codec.levels, 'rate level')}")
        points += [measure(coder, images) for coder in model_coders(codec, profile)]
    return points


def _measure_baselines(images: Images, console: Console) -> list[BenchPoint]:
    points = []
    for name in BASELINES:
        try:
            coders = list(baseline_coders(name, images.shape[1:]))
        except BaselineUnavailableError as exc:
            say(console, f"left out: {exc}")
            continue
        say(console, f"  {name}, {_counted(len(coders), 'setting')}")
        points += [measure(coder, images) for coder in coders]
    return points


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count > 1)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
