"""The words by which options are chosen, and how things are counted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

Profile = Literal["file", "embedded"]
Fit = Literal["refuse", "contain", "cover", "stretch"]
Fallback = Literal["best", "thorough", "never"]
Format = Literal["raw", "png", "webp", "bmp", "tiff", "jpeg"]
BaselineName = Literal["zip", "deflate", "png", "webp-lossless", "jpeg", "webp", "avif", "jpeg-xl"]

SUFFIXES: dict[str, Format] = {
    ".png": "png",
    ".webp": "webp",
    ".bmp": "bmp",
    ".tiff": "tiff",
    ".tif": "tiff",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
}
"""The suffixes of the image files that the server writes."""


def format_of_path(path: str | os.PathLike[str]) -> Format:
    """Return the format that a file's suffix names.

    Raises ValueError if it names none that the server writes.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{os.fspath(path)}: cannot tell the format from {suffix!r}; "
            f"an image is written as {', '.join(SUFFIXES)}"
        )
    return SUFFIXES[suffix]


def counted(number: int, noun: str) -> str:
    """Return a number of things, such as "1 file" or "2 files"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
