"""``kompakt report``: the founding paper's comparison again, with the rate that it left out."""

import argparse
import sys

from kompakt_training.arguments import DEVICES, add_data_dir, given_path, positive, run_folder
from kompakt_training.recipes import PAPER_MODELS
from kompakt_training.terminal import Parser, run_command

_DESCRIPTION = "Write the founding paper's comparison again, with the rate that it left out."


def main(argv: list[str]) -> int:
    """Run the command with its arguments; the process's exit status."""
    return run_command(_parser(), _report, argv, on_interrupt=_hint)


def _hint(args: argparse.Namespace) -> str:
    if not args.retrain:
        return "give the same command again to go on"
    return (
        "give the same command without --retrain to go on; a model that was not yet begun again "
        "stays as it was"
    )


def _report(_: Parser, args: argparse.Namespace) -> None:
    from kompakt_training.report import report

    report(args)


def _parser() -> Parser:
    parser = Parser(prog="kompakt report", description=_DESCRIPTION)
    add = parser.add_argument
    add("--out", type=run_folder, required=True, metavar="DIR", help="where the report goes")
    for model in PAPER_MODELS:
        add(
            f"--{model}",
            type=given_path,
            metavar="CHECKPOINT_OR_RUN",
            help=f"the {model.upper()} to report on (default: DIR/{model}, trained if need be)",
        )
    add_data_dir(parser, "MNIST lies")
    add("--retrain", action="store_true", help="train DIR/ae and DIR/vae from the start")
    add("--device", choices=DEVICES, default="auto", help="to train on")
    add(
        "--baseline-images",
        type=positive,
        default=1000,
        metavar="N",
        help="test digits that WebP is measured on: its search is slow (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
