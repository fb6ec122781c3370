"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from typing import get_args

from kompakt_client import _names
from kompakt_client.cli._values import level, positive, quality, seconds, source, target, whole


def add_inputs(parser: argparse.ArgumentParser, help_text: str) -> None:
    """The files and directories to work on."""
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", type=source, help=f"{help_text}; - is standard input"
    )


def add_output(parser: argparse.ArgumentParser, example: str) -> None:
    """Where the results go."""
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        type=target,
        required=True,
        help="a file for one input; for several, or a directory, a directory, which is made "
        f"({example}); - is standard output. Files that exist are overwritten",
    )


def add_profile(parser: argparse.ArgumentParser, help_text: str) -> None:
    """How streams are framed."""
    choices = get_args(_names.Profile)
    parser.add_argument(
        "--profile", choices=choices, default="file", help=f"{help_text} (default: file)"
    )


def add_fit(parser: argparse.ArgumentParser) -> None:
    """What becomes of images of other sizes."""
    parser.add_argument(
        "--fit",
        choices=get_args(_names.Fit),
        default="refuse",
        help="what to do with an image of a size that the model does not accept; all but refuse "
        "also lay transparency over black and round 16 bits to 8 (default: refuse)",
    )


def add_quality(parser: argparse.ArgumentParser) -> None:
    """What is demanded of a stream, and which codecs may make it."""
    one = parser.add_argument_group(
        "quality", "at most one; a file for which it cannot be reached fails"
    ).add_mutually_exclusive_group()
    one.add_argument(
        "--min-psnr", metavar="DB", type=quality, help="the smallest stream of at least this PSNR"
    )
    one.add_argument(
        "--max-mse", metavar="MSE", type=quality, help="the same by mean squared error, 0 to 1"
    )
    one.add_argument(
        "--max-bytes", metavar="N", type=whole, help="the best stream of at most so many bytes"
    )
    one.add_argument("--lossless", action="store_true", help="every pixel as it was")
    one.add_argument(
        "--level",
        metavar="N",
        type=level,
        help="a rate level of the model; 0 is the coarsest; some have levels between, as 9.5 (of a "
        "model conditioned on labels: 0, or 1 and up for its labels)",
    )
    one.add_argument(
        "--label", metavar="NAME", help="the images' label, for a model conditioned on labels"
    )
    rival = parser.add_mutually_exclusive_group()
    rival.add_argument(
        "--no-fallback",
        dest="fallback",
        action="store_const",
        const="never",
        help="keep the model's stream where a classical codec would make a smaller one; for "
        "photographs that is faster, and tells no PSNR",
    )
    rival.add_argument(
        "--thorough",
        dest="fallback",
        action="store_const",
        const="thorough",
        help="let AVIF make the stream too where it is smaller, which takes seconds for a "
        "photograph",
    )
    parser.set_defaults(fallback="best")


def add_common(parser: argparse.ArgumentParser, *, default: int | str = 30) -> None:
    """Of every command that asks a server: which, how long, and how the answer is printed."""
    parser.add_argument("--target", metavar="HOST:PORT", help="the server's address")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, help=f"for one answer; default: {default}"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON document")
    output.add_argument("--csv", action="store_true", help="print CSV with a header")


def add_connections(parser: argparse.ArgumentParser) -> None:
    """How many connections a command over many files takes."""
    parser.add_argument(
        "--connections",
        metavar="N",
        type=positive,
        default=1,
        help="to the server, so that one with several workers uses them all (default: 1)",
    )
