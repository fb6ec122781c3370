"""Arguments that several commands take."""

import argparse
from pathlib import Path

from kompakt_training.catalogue import DATA_DIR_VARIABLE, as_text

DEVICES = ("auto", "cpu", "cuda")


def flag(name: str) -> str:
    """The flag of a setting on the command line."""
    return "--" + name.replace("_", "-")


def positive(text: str) -> int:
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def tile_side(text: str) -> int:
    """The side of tiles, in pixels."""
    from kompakt_training.tiles import MAX_SIDE, MIN_SIDE  # imports PyTorch

    value = int(text)
    if not MIN_SIDE <= value <= MAX_SIDE:
        raise argparse.ArgumentTypeError(f"must be {MIN_SIDE} to {MAX_SIDE} pixels, not {value}")
    return value


def given_path(text: str) -> Path:
    """A path, which is not empty: that would stand for the directory one is in."""
    if not text:
        raise argparse.ArgumentTypeError("must be a path, not ''")
    return Path(text)


def run_folder(text: str) -> Path:
    """The folder of a run: what reads its state opens only names in UTF-8."""
    if as_text(text) != text:
        raise argparse.ArgumentTypeError(f"must be in UTF-8, not {as_text(text)!r}")
    return given_path(text)


def add_data_dir(parser: argparse.ArgumentParser, what: str = "the published sets lie") -> None:
    """Add ``--data-dir``."""
    parser.add_argument(
        "--data-dir",
        type=given_path,
        metavar="DIR",
        help=f"where {what} (default: {DATA_DIR_VARIABLE}, else downloaded)",
    )
