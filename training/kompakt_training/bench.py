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

from kompakt_codec.baselines import BASELINES
from kompakt_codec.errors import BaselineUnavailableError
from kompakt_codec.frame import Profile
from kompakt_codec.images import Pixels
from kompakt_codec.process import prepare_process
from kompakt_training.bench_data import BenchImages, load_bench_images
from kompakt_training.bench_measure import BenchPoint, baseline_coders, measure, model_coders
from kompakt_training.bench_memory import peak_memory_mib
from kompakt_training.bench_models import BenchModel, load_models
from kompakt_training.bench_output import Bench, to_summary_table, to_table, write_bench
from kompakt_training.bench_pictures import RIVALS, write_pictures
from kompakt_training.bench_published import PUBLISHED_TABLES, published_points
from kompakt_training.bench_summary import summaries
from kompakt_training.data import FOLDER_PREFIX
from kompakt_training.progress import say
from kompakt_training.published import DATA_DIR_VARIABLE, PUBLISHED
from kompakt_training.terminal import Parser, run_command
from kompakt_training.tiles import MAX_SIDE, MIN_SIDE

_DESCRIPTION = "Measure models and classical codecs on the same images, from real streams."
_RD_DESCRIPTION = """\
Rate, distortion and speed of every rate level of every model that accepts the images, and of every
classical codec at several settings: as JSON, as CSV, as a plot and as pictures. Rates and
distortions are the same on every run; speeds and memory are not, so --no-timings makes whole files
the same to the byte.
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
        "of a directory, of any sizes",
    )
    add("--models", type=Path, required=True, metavar="DIR", help="where the checkpoints lie")
    add(
        "--json",
        type=_json_path,
        required=True,
        metavar="OUT.json",
        help="what to write; OUT.csv, OUT.png and OUT.html come beside it",
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
    add(
        "--baselines",
        type=_baselines,
        default=tuple(BASELINES),
        metavar="NAME,…",
        help=f"measure only some of the classical codecs: {','.join(BASELINES)}",
    )
    add("--crop", type=_side, metavar="N", help="cut a folder's images into tiles of NxN pixels")
    add(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help=f"where the published sets lie (default: {DATA_DIR_VARIABLE}, else downloaded)",
    )
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


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _baselines(text: str) -> Sequence[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in BASELINES:
            raise argparse.ArgumentTypeError(
                f"no codec {name!r}: choose from {','.join(BASELINES)}"
            )
    return [name for name in BASELINES if name in names]


def _side(text: str) -> int:
    value = int(text)
    if not MIN_SIDE <= value <= MAX_SIDE:
        raise argparse.ArgumentTypeError(f"must be {MIN_SIDE} to {MAX_SIDE} pixels, not {value}")
    return value


def _bench(parser: Parser, args: argparse.Namespace) -> None:
    prepare_process()
    is_published = args.data in PUBLISHED
    if args.crop and is_published:
        parser.error("--crop is for folders, the published sets' images stay whole")
    if args.data_dir and not is_published:
        parser.error("--data-dir is for the published sets: a folder's path stands in --data")
    console = Console()
    loaded = load_bench_images(args.data, args.data_dir, crop=args.crop, max_images=args.images)
    models, reasons = load_models(args.models, loaded)
    for note in [*loaded.notes, *(f"left out: {reason}" for reason in reasons)]:
        say(console, note)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    say(console, f"measuring on {len(loaded.images)} images of {loaded.name}, {loaded.size} …")
    with _one_thread():
        bench = _measure(args, loaded, models, console)
        written = write_bench(args.json, bench)
        written.append(_write_pictures(args, models, loaded, bench))
    console.print(to_table(bench))
    console.print(to_summary_table(bench))
    say(console, f"wrote {', '.join(map(str, written))}")


def _measure(
    args: argparse.Namespace, data: BenchImages, models: Sequence[BenchModel], console: Console
) -> Bench:
    points = _measure_models(models, data.images, args.profile, console)
    points += _measure_baselines(args.baselines, data.images, console)
    published = published_points(args.published) if args.published else []
    memory = {} if args.no_timings else _measure_memory(points, models, data.images, console)
    return Bench(
        data=data.name,
        num_images=len(data.images),
        image=data.size,
        profile=args.profile,
        points=points,
        published=published,
        codecs=summaries(points, published, memory),
        has_timings=not args.no_timings,
    )


def _write_pictures(
    args: argparse.Namespace, models: Sequence[BenchModel], data: BenchImages, bench: Bench
) -> Path:
    path: Path = args.json.with_suffix(".html")
    measured = {point.codec for point in bench.points}
    write_pictures(
        path,
        models,
        data.images,
        title=bench.subject,
        profile=args.profile,
        rivals=[name for name in RIVALS if name in measured],
    )
    return path


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measure_models(
    models: Sequence[BenchModel], images: Sequence[Pixels], profile: Profile, console: Console
) -> list[BenchPoint]:
    points = []
    for model in models:
        say(console, f"  {model.name}, {_counted(model.codec.levels, 'rate level')}")
        points += [measure(coder, images) for coder in model_coders(model.codec, profile)]
    return points


def _measure_baselines(
    names: Sequence[str], images: Sequence[Pixels], console: Console
) -> list[BenchPoint]:
    points = []
    side = max(max(image.shape[:2]) for image in images)
    for name in names:
        if side > BASELINES[name].max_side:
            most = BASELINES[name].max_side
            say(console, f"left out: {name} holds at most {most} pixels a side")
            continue
        try:
            coders = list(baseline_coders(name, images[0].shape[2]))
        except BaselineUnavailableError as exc:
            say(console, f"left out: {exc}")
            continue
        say(console, f"  {name}, {_counted(len(coders), 'setting')}")
        points += [measure(coder, images) for coder in coders]
    return points


def _measure_memory(
    points: Sequence[BenchPoint],
    models: Sequence[BenchModel],
    images: Sequence[Pixels],
    console: Console,
) -> dict[str, float | None]:
    say(console, "  memory, a process for each codec")
    paths = {model.name: model.path for model in models}
    names = dict.fromkeys(point.codec for point in points)
    return {name: peak_memory_mib(images, codec=paths.get(name, name)) for name in names}


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count > 1)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
