"""The images of a benchmark: a dataset's test part, or all images of a directory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kompakt_codec.errors import CodecError
from kompakt_codec.images import Pixels
from kompakt_training.catalogue import DATASETS, as_text, dataset_name, expanded, is_dataset
from kompakt_training.data import load_dataset
from kompakt_training.errors import TrainingError
from kompakt_training.folder import MAX_FOLDER_BYTES
from kompakt_training.image_files import read_image, skipped_note
from kompakt_training.run_files import files_below, runs_note
from kompakt_training.tiles import cut, share

MAX_TILES = 10_000

_SEED = 0
_NUM_LISTED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchImages:
    """Images of any sizes, alike in channels, and what they are called: never a path."""

    name: str
    images: Sequence[Pixels]
    """At least one, each uint8 (height, width, channels)."""
    notes: Sequence[str] = ()
    """What a person should know of how they were come by."""

    @property
    def size(self) -> str:
        """Height, width and channels of all: "28x28x1", or "512x768x3, 768x512x3".

        Of more than three sizes "7 sizes from 20x30x3 to 600x800x3", by their pixels.
        """
        shapes = sorted({image.shape for image in self.images}, key=lambda s: (s[0] * s[1], s))
        texts = ["x".join(map(str, shape)) for shape in shapes]
        if len(texts) <= _NUM_LISTED:
            return ", ".join(texts)
        return f"{len(texts)} sizes from {texts[0]} to {texts[-1]}"


def load_bench_images(
    data: str,
    data_dir: Path | None = None,
    *,
    crop: int | None = None,
    max_images: int | None = None,
) -> BenchImages:
    """The test part of a dataset that trainings know, or all images below a directory.

    ``crop`` is the side of the tiles that a folder's images are cut into, ``data_dir`` where the
    published sets lie. Of more than ``max_images`` a fixed sample is taken. The folders of runs
    that lie in a directory are left out. Raises TrainingError.
    """
    if is_dataset(data):
        test = load_dataset(data, data_dir, crop=crop).test
        loaded = BenchImages(name=dataset_name(data), images=list(test))
    else:
        loaded = _load_directory(data, crop)
    if max_images is None or max_images >= len(loaded.images):
        return loaded
    chosen = np.random.default_rng(_SEED).choice(len(loaded.images), max_images, replace=False)
    return replace(loaded, images=[loaded.images[i] for i in np.sort(chosen)])


def _load_directory(data: str, crop: int | None) -> BenchImages:
    directory = expanded(data)
    if not directory.is_dir():
        raise TrainingError(
            f"{data!r} is neither a directory of images nor a dataset: {', '.join(DATASETS)}"
        )
    images, notes = _read_all(directory)
    channels = max(image.shape[2] for image in images)
    # Grey is broadcast over the three channels where any image is RGB.
    alike = [_with_channels(image, channels) for image in images]
    return BenchImages(
        name=as_text(directory.resolve().name),
        images=_tiles(alike, crop) if crop else alike,
        notes=notes,
    )


def _read_all(directory: Path) -> tuple[list[Pixels], list[str]]:
    """All images in the order of their names, and notes on what lies beside them."""
    files = files_below(directory)
    images: list[Pixels] = []
    skipped = list(files.skipped)
    num_bytes = 0
    for file in files.paths:
        try:
            images.append(read_image(file))
        except CodecError as exc:
            skipped.append(skipped_note(file, exc))
            continue
        num_bytes += images[-1].nbytes
        if num_bytes > MAX_FOLDER_BYTES:
            raise TrainingError(
                f"the pixels of the images in {directory} take over {MAX_FOLDER_BYTES} bytes: "
                "take a folder of fewer (--images and --crop choose after all are read)"
            )
    notes = [f"{len(skipped)} files skipped, the first: {skipped[0]}"] if skipped else []
    notes += [runs_note(files.num_runs)] if files.num_runs else []
    if not images:
        raise TrainingError(": ".join([f"{directory} holds no image", *notes]))
    return images, notes


def _with_channels(image: Pixels, channels: int) -> Pixels:
    if image.shape[2] == channels:
        return image
    return np.repeat(image, channels, axis=2)


def _tiles(images: Sequence[Pixels], side: int) -> list[Pixels]:
    """Tiles of all images, at most 256 of each and 10,000 in all."""
    tile = (side, side)
    limit = min(MAX_TILES, MAX_FOLDER_BYTES // (side * side * images[0].shape[2]))
    counts = share([image.shape[:2] for image in images], tile, limit=limit)
    cuts = [
        cut(image, tile, count=count, seed=[_SEED, index])
        for index, (image, count) in enumerate(zip(images, counts, strict=True))
        if count
    ]
    if not cuts:
        raise TrainingError(f"no image is as large as {side}x{side}: give a smaller --crop")
    return [tile for tiles in cuts for tile in tiles]
