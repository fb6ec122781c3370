"""What lies in a folder of images: each is read once, to know what it holds."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from kompakt_codec.errors import CodecError
from kompakt_training.errors import TrainingError
from kompakt_training.image_files import read_image, skipped_note
from kompakt_training.imageset import Images
from kompakt_training.run_files import files_below
from kompakt_training.tiles import Size

_Item = TypeVar("_Item")


class Track(Protocol):
    """Gives items one by one, and shows how many are done."""

    def __call__(self, items: Sequence[_Item], /) -> Iterable[_Item]:
        """The items, in their order."""


def untracked(items: Sequence[_Item], /) -> Iterable[_Item]:
    """Show nothing."""
    return items


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An image file and what it holds."""

    file: Path
    size: Size
    channels: int
    label: str
    """The name of the folder's own folder that it lies in, or empty."""
    digest: bytes
    """A hash of its pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A folder's images in the order of their names, and what else lies there."""

    sources: Sequence[Source]
    num_skipped: int
    reason: str
    """The first of the others, and why it was skipped."""
    num_runs: int
    """Folders of runs that were left out."""


def survey_of(path: Path, own: Sequence[Path], track: Track) -> Survey:
    """Read all images below a folder, but for those that ``files_below`` leaves out."""
    files = files_below(path, own=own)
    sources: list[Source] = []
    skipped = list(files.skipped)
    for file in track(files.paths):
        try:
            pixels = read_image(file)
        except CodecError as exc:
            skipped.append(skipped_note(file, exc))
            continue
        parts = file.relative_to(path).parts
        height, width, channels = pixels.shape
        sources.append(
            Source(
                file=file,
                size=(height, width),
                channels=channels,
                label=parts[0] if len(parts) > 1 else "",
                digest=hashlib.sha256(np.ascontiguousarray(pixels).data).digest(),
            )
        )
    return Survey(
        sources=sources,
        num_skipped=len(skipped),
        reason=skipped[0] if skipped else "",
        num_runs=files.num_runs,
    )


def read_again(source: Source) -> Images:
    """The image's pixels. Raises TrainingError if they are no longer of the same size."""
    try:
        image = read_image(source.file)
    except CodecError as exc:
        raise TrainingError(f"{source.file} has changed since it was first read: {exc}") from exc
    if image.shape != (*source.size, source.channels):
        raise TrainingError(f"{source.file} has changed since it was first read")
    return image
