"""``kompakt import-compressai``: a CompressAI model as a checkpoint that just loads."""

import argparse
import sys

from kompakt_training.arguments import given_path
from kompakt_training.compressai_names import ARCHITECTURES
from kompakt_training.terminal import Parser, run_command

_DESCRIPTION = """\
Make a checkpoint of weights that CompressAI trained. Probabilities become integers, so that its
streams decode to the same symbols everywhere; the picture is CompressAI's. Nothing in the file is
run. --calibrate measures rate and distortion, and how many bytes the integers cost.
"""
_NOT_STATED = "not stated"


def main(argv: list[str]) -> int:
    """Run the command with its arguments; the process's exit status."""
    return run_command(_parser(), _import, argv)


def _import(parser: Parser, args: argparse.Namespace) -> None:
    from kompakt_training.import_command import import_model

    import_model(parser, args)


def _parser() -> Parser:
    parser = Parser(prog="kompakt import-compressai", description=_DESCRIPTION)
    add = parser.add_argument
    add("file", type=given_path, metavar="FILE", help="a state dict that torch.save wrote")
    add("--architecture", choices=ARCHITECTURES, required=True, help="CompressAI's name of it")
    add(
        "--out",
        type=given_path,
        required=True,
        metavar="CHECKPOINT",
        help="the .safetensors to write",
    )
    add("--name", help="what the model is called (default: the architecture's name)")
    add("--dataset", default=_NOT_STATED, metavar="TEXT", help="what it was trained on")
    add("--licence", default=_NOT_STATED, metavar="TEXT", help="of the data, for the record")
    add("--calibrate", type=given_path, metavar="DIR", help="images to measure on")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
