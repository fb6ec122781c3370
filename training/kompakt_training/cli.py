"""``kompakt train``: train a codec on a dataset and export its checkpoint."""

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from kompakt_codec.models import ImageSpec
from kompakt_codec.process import prepare_process
from kompakt_training.data import DATASETS, FOLDER_PREFIX, dataset_name, is_dataset, load_dataset
from kompakt_training.folder import DEFAULT_MEMORY_GIB
from kompakt_training.imageset import ImageSet
from kompakt_training.losses import CONDITIONAL
from kompakt_training.processes import launched_rank
from kompakt_training.progress import results_table, say
from kompakt_training.published import DATA_DIR_VARIABLE
from kompakt_training.recipes import RECIPES
from kompakt_training.run import Run, execute, pick_device
from kompakt_training.settings import (
    DEFAULT_SEED,
    DEFAULT_STEP_SCALE,
    ExportSettings,
    Settings,
    command_line,
    default_name,
    flag,
    mirrored_by_default,
)
from kompakt_training.starting import load_start, recorded_name
from kompakt_training.state import weights_hash
from kompakt_training.terminal import Parser, run_command
from kompakt_training.tiles import MAX_SIDE, MIN_SIDE

_CONFIG_FLAGS = {
    "width": "channels of the transforms' first layer",
    "latents": "numbers that an image becomes",
    "classes": "labels that a cvae knows",
    "levels": "ae: values that each latent can take, odd; context: rate levels",
    "scalar_levels": "context: so many of the coarsest levels have a scalar quantiser, which is "
    "better where most latents are 0, the others a trellis-coded one (default: 3)",
    "blocks": "residual blocks in each transform, beside those that it has anyway",
    "units": "context: hidden units of the prior for each latent and layer; hyperprior: channels",
    "side": "channels of the side information",
    "groups": "steps in which a hyperprior's channels are coded",
    "spatial": "how many of a hyperprior's first groups are coded in four steps",
    "components": "logistics in each of the prior's mixtures",
}
_MAX_CONTEXT_SIDE = 32
_MIN_HYPERPRIOR_SIDE = 8
_LEAST_MEMORY_GIB = 0.1
_DESCRIPTION = "Train a codec on your images and export its checkpoint."
_RESUME_HINT = "give the same command again to go on after the last whole epoch"


def main(argv: list[str]) -> int:
    """Run the command with its arguments; the process's exit status."""
    parser = _parser()
    return run_command(parser, lambda args: _train(parser, args), argv, on_interrupt=_RESUME_HINT)


def _parser() -> Parser:
    rank = launched_rank()
    prog = f"kompakt train, process {rank}" if rank else "kompakt train"
    parser = Parser(prog=prog, description=_DESCRIPTION)
    add = parser.add_argument
    add("--model", choices=tuple(RECIPES), help="the architecture (default: by the images' size)")
    add("--dataset", required=True, type=_dataset, metavar="|".join(DATASETS), help="the images")
    add(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help=f"where the published sets lie (default: {DATA_DIR_VARIABLE}, else downloaded)",
    )
    add(
        "--crop",
        type=int,
        metavar="N",
        help="cut a folder's images into tiles of NxN pixels (default: only where sizes differ)",
    )
    add(
        "--image-memory",
        type=float,
        metavar="GIB",
        help="the most that a folder's images may take in memory, in each process (default: 2); "
        "photographs that hold more tiles give a part of them",
    )
    add("--licence", metavar="TEXT", help="what a folder's images are under, for the checkpoint")
    add("--out", type=Path, metavar="RUN_DIR", help="the run's folder (default: runs/NAME)")
    add("--name", help="the checkpoint's name (default: DATASET-MODEL)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on where the run in RUN_DIR was stopped (default), or start again",
    )
    add(
        "--init",
        type=Path,
        metavar="RUN_DIR|FILE",
        help="start from the best weights of another run, or from a checkpoint's, of the same "
        "architecture and sizes",
    )
    recipe = parser.add_argument_group("recipe (default: the model's own)")
    recipe.add_argument("--epochs", type=int, metavar="N")
    recipe.add_argument("--batch-size", type=int, metavar="N")
    recipe.add_argument("--learning-rate", type=float, metavar="RATE", help="its peak")
    recipe.add_argument("--seed", type=int, default=DEFAULT_SEED, metavar="N")
    recipe.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        help="half of the images are seen mirrored, left to right (default: where they are tiles)",
    )
    for name, text in _CONFIG_FLAGS.items():
        recipe.add_argument(flag(name), type=int, metavar="N", help=text)
    recipe.add_argument(
        "--default-level",
        type=int,
        metavar="N",
        help="the rate level of a request that names none (default: the middle one)",
    )
    recipe.add_argument(
        "--step-scale",
        type=float,
        default=DEFAULT_STEP_SCALE,
        metavar="X",
        help="the VAE's rounding step in widths of its posterior; larger: fewer bytes, more error",
    )
    return parser


def _dataset(spec: str) -> str:
    if not is_dataset(spec):
        raise argparse.ArgumentTypeError(f"unknown dataset {spec!r}; known: {', '.join(DATASETS)}")
    return spec


def default_model(spec: ImageSpec) -> str:
    """The architecture for images of this size, where the command line names none."""
    is_small = spec.channels == 1 and max(spec.height, spec.width) <= _MAX_CONTEXT_SIDE
    is_tiny = min(spec.height, spec.width) < _MIN_HYPERPRIOR_SIDE
    return "context" if is_small or is_tiny else "hyperprior"


def _train(parser: Parser, args: argparse.Namespace) -> None:
    _refuse_foreign_flags(parser, args)
    if args.model:  # refuse before the images are read, which can take long
        _settings(parser, args, args.model)
        _export_settings(parser, args, args.model)
    device = pick_device(args.device)
    prepare_process()
    console = Console(quiet=launched_rank() > 0)
    images = load_dataset(
        args.dataset,
        args.data_dir,
        licence=args.licence,
        crop=args.crop,
        memory_gib=args.image_memory or DEFAULT_MEMORY_GIB,
    )
    if images.crop and args.crop is None:
        say(console, _cut_line(images.crop))
    run = _run(parser, args, images)
    if args.resume and run.is_finished():
        say(console, f"{run.checkpoint_path} is finished; start again with --no-resume")
        return
    results = execute(run, device=device, resume=args.resume, console=console)
    if not results:
        return
    console.print(results_table(results))
    say(console, f"wrote {run.checkpoint_path}, and what it is worth: {run.report_path}")
    say(console, f"serve it with: {shlex.join(['kompakt', 'serve', '--models', str(run.out)])}")


def _run(parser: Parser, args: argparse.Namespace, images: ImageSet) -> Run:
    if args.model in CONDITIONAL and args.classes is None and images.labels.names:
        args.classes = len(images.labels.names)
    if args.mirror is None:
        args.mirror = mirrored_by_default(images.crop)
    init = None if args.init is None else load_start(args.init)
    settings = _settings(parser, args, args.model or default_model(images.spec))
    if init is not None:
        settings = replace(settings, init=weights_hash(init))
    export = _export_settings(parser, args, settings.model)
    return Run(
        settings=settings,
        export=export,
        images=images,
        out=args.out or Path("runs") / export.name,
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


def _refuse_foreign_flags(parser: Parser, args: argparse.Namespace) -> None:
    is_folder = args.dataset.startswith(FOLDER_PREFIX)
    if is_folder and args.data_dir:
        parser.error("--data-dir is for the published sets: a folder's path stands in --dataset")
    if args.licence and not is_folder:
        parser.error("--licence is for folder: datasets, the published sets have theirs")
    if args.image_memory is not None and not is_folder:
        parser.error("--image-memory is for folder: datasets, the published sets are small")
    if args.image_memory is not None and not args.image_memory >= _LEAST_MEMORY_GIB:
        parser.error(f"--image-memory must be at least {_LEAST_MEMORY_GIB} GiB")
    if args.crop is not None and not is_folder:
        parser.error("--crop is for folder: datasets, the published sets' images stay whole")
    if args.crop is not None and not MIN_SIDE <= args.crop <= MAX_SIDE:
        parser.error(f"--crop must be {MIN_SIDE} to {MAX_SIDE} pixels, not {args.crop}")


def _cut_line(side: int) -> str:
    return (
        f"the images are not all of one size up to {MAX_SIDE}x{MAX_SIDE}: they are cut into tiles "
        f"of {side}x{side}; --crop N chooses another side"
    )


def _settings(parser: Parser, args: argparse.Namespace, model: str) -> Settings:
    config = {name: getattr(args, name) for name in _CONFIG_FLAGS}
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
    name = args.name or default_name(dataset_name(args.dataset), model)
    try:
        export = ExportSettings(
            name=name, step_scale=args.step_scale, default_level=args.default_level
        )
        config = _settings(parser, args, model).config
        export.check_level(config["levels"] if RECIPES[model].rate_distortion else 1)
        return export
    except ValueError as exc:
        parser.error(str(exc))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
