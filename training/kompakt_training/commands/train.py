"""``kompakt train``: train a codec on a dataset and export its checkpoint."""

import argparse
import sys

from kompakt_training.arguments import (
    DEVICES,
    add_data_dir,
    flag,
    given_path,
    run_folder,
    tile_side,
)
from kompakt_training.catalogue import DATASETS, as_text, is_dataset
from kompakt_training.launch import launched_rank
from kompakt_training.recipes import CONFIG_HELP, DEFAULT_SEED, DEFAULT_STEP_SCALE, RECIPES
from kompakt_training.terminal import Parser, run_command

_DESCRIPTION = "Train a codec on your images and export its checkpoint."


def main(argv: list[str]) -> int:
    """Run the command with its arguments; the process's exit status."""
    return run_command(_parser(), _train, argv, on_interrupt=_hint)


def _hint(args: argparse.Namespace) -> str:
    how = "again" if args.resume else "without --no-resume"
    return f"give the same command {how} to go on after the last whole epoch"


def _train(parser: Parser, args: argparse.Namespace) -> None:
    from kompakt_training.train import train

    train(parser, args)


def _parser() -> Parser:
    rank = launched_rank()
    prog = f"kompakt train, process {rank}" if rank else "kompakt train"
    parser = Parser(prog=prog, description=_DESCRIPTION)
    add = parser.add_argument
    add("--model", choices=tuple(RECIPES), help="the architecture (default: by the images' size)")
    add("--dataset", required=True, type=_dataset, metavar="|".join(DATASETS), help="the images")
    add_data_dir(parser)
    add(
        "--crop",
        type=tile_side,
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
    add(
        "--licence",
        type=as_text,
        metavar="TEXT",
        help="what a folder's images are under, for the checkpoint",
    )
    add("--out", type=run_folder, metavar="RUN_DIR", help="the run's folder (default: runs/NAME)")
    add("--name", help="the checkpoint's name (default: DATASET-MODEL)")
    add("--device", choices=DEVICES, default="auto")
    add(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on where the run in RUN_DIR was stopped (default), or start again",
    )
    add(
        "--init",
        type=given_path,
        metavar="RUN_DIR|FILE",
        help="start from the best weights of another run, or from a checkpoint's, of the same "
        "architecture and sizes",
    )
    _add_recipe(parser)
    return parser


def _add_recipe(parser: Parser) -> None:
    recipe = parser.add_argument_group("recipe (default: the model's own)")
    add = recipe.add_argument
    add("--epochs", type=int, metavar="N")
    add("--batch-size", type=int, metavar="N")
    add("--learning-rate", type=float, metavar="RATE", help="its peak")
    add("--seed", type=int, default=DEFAULT_SEED, metavar="N")
    add(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        help="half of the images are seen mirrored, left to right (default: where they are tiles)",
    )
    for name, text in CONFIG_HELP.items():
        add(flag(name), type=int, metavar="N", help=text)
    add(
        "--default-level",
        type=int,
        metavar="N",
        help="the rate level of a request that names none (default: the middle one)",
    )
    add(
        "--step-scale",
        type=float,
        default=DEFAULT_STEP_SCALE,
        metavar="X",
        help="the VAE's rounding step in widths of its posterior; larger: fewer bytes, more error",
    )


def _dataset(spec: str) -> str:
    if not is_dataset(spec):
        raise argparse.ArgumentTypeError(f"unknown dataset {spec!r}; known: {', '.join(DATASETS)}")
    return spec


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
