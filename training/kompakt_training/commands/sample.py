"""``kompakt sample``: images from a variational autoencoder's prior, and walks between two."""

import argparse
import sys
from pathlib import Path

from kompakt_training.arguments import given_path
from kompakt_training.recipes import DEFAULT_SEED
from kompakt_training.terminal import Parser, run_command

_DESCRIPTION = """\
Draw new images from the prior of a model of the kind vae or cvae, or walk between two images
through its latents. Writes one PNG: the images in rows, from left to right.
"""
_MAX_COUNT = 1024


def main(argv: list[str]) -> int:
    """Run the command with its arguments; the process's exit status."""
    return run_command(_parser(), _sample, argv)


def _sample(parser: Parser, args: argparse.Namespace) -> None:
    for name in ("count", "columns"):
        if not 1 <= getattr(args, name) <= _MAX_COUNT:
            parser.error(f"--{name} must be 1 to {_MAX_COUNT}, not {getattr(args, name)}")
    if args.between and args.count < 2:
        parser.error("--between needs a --count of 2 or more")
    from kompakt_training.sample import write_sheet

    write_sheet(parser, args)


def _parser() -> Parser:
    parser = Parser(prog="kompakt sample", description=_DESCRIPTION)
    add = parser.add_argument
    add(
        "--model",
        type=given_path,
        required=True,
        metavar="CHECKPOINT",
        help="a vae's or cvae's file",
    )
    add("--out", type=_png_path, required=True, metavar="PNG", help="the sheet to write")
    add("--count", type=int, default=64, metavar="N", help="images (default: 64)")
    add("--columns", type=int, default=16, metavar="N", help="images in a row (default: 16)")
    add(
        "--between",
        type=given_path,
        nargs=2,
        metavar="IMAGE",
        help="walk from one image to another",
    )
    add("--label", metavar="NAME", help="what a cvae is to draw (default: nothing in particular)")
    add("--seed", type=int, default=DEFAULT_SEED, metavar="N")
    return parser


def _png_path(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError("must end in .png, as the sheet is a PNG")
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
