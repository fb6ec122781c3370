"""What ``kompakt bench rd`` does: models beside every classical codec, rate, distortion and speed.

Every figure is of real streams, one for each image, all decoded again (docs/bench.md).
"""

import argparse
import contextlib
from collections.abc import Iterator, Sequence

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
from kompakt_training.bench_output import (
    Bench,
    output_paths,
    require_writable,
    to_summary_table,
    to_table,
    write_bench,
)
from kompakt_training.bench_pictures import RIVALS, pictures_page
from kompakt_training.bench_published import published_points
from kompakt_training.bench_summary import summaries
from kompakt_training.catalogue import PUBLISHED, folder_path
from kompakt_training.progress import say, stdout_console
from kompakt_training.run_files import would_count
from kompakt_training.terminal import Parser


def bench(parser: Parser, args: argparse.Namespace) -> None:
    """Measure and write what ``kompakt bench rd`` is asked for. Raises TrainingError."""
    prepare_process()
    is_published = args.data in PUBLISHED
    if args.crop and is_published:
        parser.error("--crop is for folders, the published sets' images stay whole")
    if args.data_dir and not is_published:
        parser.error("--data-dir is for the published sets: a folder's path stands in --data")
    plot = output_paths(args.json)[2]
    if not is_published and would_count(plot, folder_path(args.data)):
        parser.error(f"--json: {plot} would lie among the images: write elsewhere")
    console = stdout_console()
    loaded = load_bench_images(args.data, args.data_dir, crop=args.crop, max_images=args.images)
    models, reasons = load_models(args.models, loaded)
    for note in [*loaded.notes, *(f"left out: {reason}" for reason in reasons)]:
        say(console, note)
    require_writable(args.json)
    say(console, f"measuring on {len(loaded.images)} images of {loaded.name}, {loaded.size} …")
    with _one_thread():
        made = _measure(args, loaded, models, console)
        page = _pictures(args, models, loaded, made)
        written = write_bench(args.json, made, page)
    console.print(to_table(made))
    console.print(to_summary_table(made))
    say(console, f"wrote {', '.join(map(str, written))}")


def _measure(
    args: argparse.Namespace, data: BenchImages, models: Sequence[BenchModel], console: Console
) -> Bench:
    points = _measure_models(models, data.images, Profile(args.profile), console)
    points += _measure_baselines(args.baselines, data.images, console)
    published = published_points(args.published) if args.published else []
    memory = {} if args.no_timings else _measure_memory(points, models, data.images, console)
    return Bench(
        data=data.name,
        num_images=len(data.images),
        image=data.size,
        profile=Profile(args.profile),
        points=points,
        published=published,
        codecs=summaries(points, published, memory),
        has_timings=not args.no_timings,
    )


def _pictures(
    args: argparse.Namespace, models: Sequence[BenchModel], data: BenchImages, made: Bench
) -> bytes:
    measured = {point.codec for point in made.points}
    return pictures_page(
        models,
        data.images,
        title=made.subject,
        profile=Profile(args.profile),
        rivals=[name for name in RIVALS if name in measured],
    )


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
        say(console, f"  {model.name}, {_counted(model.codec.header.rate_levels, 'rate level')}")
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
