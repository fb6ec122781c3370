"""What ``kompakt train`` does: a codec trained on a dataset, and its checkpoint."""

import argparse
import math
import os
import shlex
from dataclasses import replace
from pathlib import Path

from kompakt_codec.frame import MAX_LEVELS
from kompakt_codec.models import ImageSpec
from kompakt_codec.process import prepare_process
from kompakt_training.arguments import flag
from kompakt_training.catalogue import FOLDER_PREFIX, dataset_name
from kompakt_training.data import load_dataset
from kompakt_training.errors import TrainingError
from kompakt_training.folder import DEFAULT_MEMORY_GIB
from kompakt_training.folder_survey import untracked
from kompakt_training.imageset import ImageSet
from kompakt_training.launch import launched_rank
from kompakt_training.losses import CONDITIONAL
from kompakt_training.progress import reading, results_table, say, stdout_console
from kompakt_training.recipes import CONFIG_HELP, RECIPES
from kompakt_training.run import Run, execute, pick_device
from kompakt_training.settings import (
    ExportSettings,
    Settings,
    command_line,
    default_name,
    mirrored_by_default,
)
from kompakt_training.starting import load_start, recorded_name
from kompakt_training.state import TrainingState, weights_hash
from kompakt_training.terminal import Parser
from kompakt_training.tiles import MAX_SIDE

_MAX_CONTEXT_SIDE = 32
_MIN_HYPERPRIOR_SIDE = 8
_LEAST_MEMORY_GIB = 0.1


def default_model(spec: ImageSpec, *, is_cut: bool = False) -> str:
    """The architecture for images of this size, where the command line names none.

    Tiles (``is_cut``) are of images of other sizes, which the model is to take too.
    """
    is_grey = spec.channels == 1
    is_small = is_grey and not is_cut and max(spec.height, spec.width) <= _MAX_CONTEXT_SIDE
    is_tiny = min(spec.height, spec.width) < _MIN_HYPERPRIOR_SIDE
    return "context" if is_small or is_tiny else "hyperprior"


def train(parser: Parser, args: argparse.Namespace) -> None:
    """Train as ``kompakt train``'s arguments say. Raises TrainingError."""
    _refuse_foreign_flags(parser, args)
    # Refuse before the images are read, which can take long.
    if args.model:
        _settings(parser, args, args.model)
        _export_settings(parser, args, args.model)
    if args.out:
        _require_place(args.out)
    init = None if args.init is None else load_start(args.init)
    device = pick_device(args.device)
    prepare_process()
    console = stdout_console(quiet=launched_rank() > 0)
    images = load_dataset(
        args.dataset,
        args.data_dir,
        licence=args.licence,
        crop=args.crop,
        memory_gib=args.image_memory or DEFAULT_MEMORY_GIB,
        own=[_folder(args, model) for model in ([args.model] if args.model else RECIPES)],
        track=reading(console) if args.dataset.startswith(FOLDER_PREFIX) else untracked,
    )
    if images.crop and args.crop is None:
        say(console, _cut_line(images.crop))
    run = _run(parser, args, images, init)
    if args.resume and run.is_finished():
        say(console, f"{run.checkpoint_path} is finished; start again with --no-resume")
        return
    results = execute(run, device=device, resume=args.resume, console=console)
    if not results:
        return
    console.print(results_table(results))
    say(console, f"wrote {run.checkpoint_path}, and what it is worth: {run.report_path}")
    say(console, f"serve it with: {shlex.join(['kompakt', 'serve', '--models', str(run.out)])}")


def _run(
    parser: Parser, args: argparse.Namespace, images: ImageSet, init: TrainingState | None
) -> Run:
    if args.model in CONDITIONAL and args.classes is None and images.labels.names:
        args.classes = _num_classes(images)
    if args.mirror is None:
        args.mirror = mirrored_by_default(images.crop)
    settings = _settings(parser, args, args.model or _default_model(images))
    if init is not None:
        settings = replace(settings, init=weights_hash(init))
    export = _export_settings(parser, args, settings.model)
    return Run(
        settings=settings,
        export=export,
        images=images,
        out=_folder(args, settings.model),
        command=command_line(
            settings,
            export,
            dataset=images.name,
            crop=images.crop,
            memory_gib=args.image_memory,
            licence=args.licence,
            init=args.init and recorded_name(args.init),
        ),
        init=init,
    )


def _default_model(images: ImageSet) -> str:
    return default_model(images.spec, is_cut=images.crop is not None)


def _num_classes(images: ImageSet) -> int:
    count, most = len(images.labels.names), MAX_LEVELS - 1
    if count > most:
        raise TrainingError(f"{images.name} has {count} classes: a cvae knows at most {most}")
    return count


def _name(args: argparse.Namespace, model: str) -> str:
    name: str = args.name or default_name(dataset_name(args.dataset), model)
    return name


def _folder(args: argparse.Namespace, model: str) -> Path:
    folder: Path = args.out or Path("runs") / _name(args, model)
    return folder


def _require_place(out: Path) -> None:
    """Raise TrainingError unless the folder is there or can be made."""
    nearest = next(path for path in (out, *out.parents) if path.exists())
    if not nearest.is_dir():
        raise TrainingError(f"--out: {out}: {nearest} is not a folder")
    if nearest != out and not os.access(nearest, os.W_OK | os.X_OK):
        raise TrainingError(f"--out: {out}: no folder can be made in {nearest}")


def _refuse_foreign_flags(parser: Parser, args: argparse.Namespace) -> None:
    is_folder = args.dataset.startswith(FOLDER_PREFIX)
    if is_folder and args.data_dir:
        parser.error("--data-dir is for the published sets: a folder's path stands in --dataset")
    if args.licence and not is_folder:
        parser.error("--licence is for folder: datasets, the published sets have theirs")
    if args.image_memory is not None and not is_folder:
        parser.error("--image-memory is for folder: datasets, the published sets are small")
    if args.image_memory is not None and not _is_amount(args.image_memory):
        parser.error(f"--image-memory must be at least {_LEAST_MEMORY_GIB} GiB, and finite")
    if args.crop is not None and not is_folder:
        parser.error("--crop is for folder: datasets, the published sets' images stay whole")


def _is_amount(memory_gib: float) -> bool:
    num_bytes = memory_gib * 2**30
    return memory_gib >= _LEAST_MEMORY_GIB and math.isfinite(num_bytes)


def _cut_line(side: int) -> str:
    return (
        f"the images are not all of one size up to {MAX_SIDE}x{MAX_SIDE}: they are cut into tiles "
        f"of {side}x{side}; --crop N chooses another side"
    )


def _settings(parser: Parser, args: argparse.Namespace, model: str) -> Settings:
    config = {name: getattr(args, name) for name in CONFIG_HELP}
    given = {name: value for name, value in config.items() if value is not None}
    if foreign := given.keys() - RECIPES[model].config:
        parser.error(f"{flag(min(foreign))} is not for --model {model}")
    try:
        return Settings.from_recipe(
            model,
            config=given,
            epochs=args.epochs,
            batch_size=args.batch_size,
            learning_rate=args.learning_rate,
            seed=args.seed,
            mirror=bool(args.mirror),
        )
    except ValueError as exc:
        parser.error(str(exc))


def _export_settings(parser: Parser, args: argparse.Namespace, model: str) -> ExportSettings:
    try:
        export = ExportSettings(
            name=_name(args, model), step_scale=args.step_scale, default_level=args.default_level
        )
        config = _settings(parser, args, model).config
        export.check_level(config["levels"] if RECIPES[model].rate_distortion else 1)
        return export
    except ValueError as exc:
        parser.error(str(exc))
