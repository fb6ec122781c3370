"""A folder of image files as a dataset."""

from collections import Counter
from pathlib import Path

import numpy as np

from kompakt_codec.errors import CodecError
from kompakt_codec.images import DEFAULT_LIMITS, decode_image
from kompakt_training.errors import TrainingError
from kompakt_training.imageset import Images, ImageSet

MIN_FOLDER_IMAGES = 20
MAX_FOLDER_BYTES = 1 << 31

_HELD_OUT = 0.05
_SPLIT_SEED = 0
_SIZES_SHOWN = 5


def load_folder(path: Path, *, name: str, licence: str | None = None) -> ImageSet:
    """Load every image below ``path``; they must agree in height, width and channels.

    Files that are not images are skipped and counted. The split, 90/5/5, depends only on the names
    of the files, never on a run's seed. Raises TrainingError; ValueError for images of a size that
    no model accepts.
    """
    if not path.is_dir():
        raise TrainingError(f"{path} is not a folder")
    images, num_skipped, reason = _read_images(path)
    if len(images) < MIN_FOLDER_IMAGES:
        skipped = f" ({num_skipped} files skipped, the first: {reason})" if num_skipped else ""
        raise TrainingError(
            f"{path} holds {len(images)} images{skipped}: at least {MIN_FOLDER_IMAGES} are needed"
        )
    _refuse_mixed_sizes(path, images)
    train, val, test = _split(np.stack(images))
    return ImageSet(
        name=name,
        licence=licence or "not stated",
        train=train,
        val=val,
        test=test,
        num_skipped=num_skipped,
    )


def _read_images(path: Path) -> tuple[list[Images], int, str]:
    """Images in the order of their files' names, the number of other files, why the first is."""
    images: list[Images] = []
    num_skipped, num_bytes, reason = 0, 0, ""
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        with file.open("rb") as stream:
            data = stream.read(DEFAULT_LIMITS.max_bytes + 1)
        try:
            images.append(decode_image(data))
        except CodecError as exc:
            num_skipped += 1
            reason = reason or f"{file.name}: {exc}"
            continue
        num_bytes += images[-1].nbytes
        if num_bytes > MAX_FOLDER_BYTES:
            raise TrainingError(f"the images in {path} take over {MAX_FOLDER_BYTES} bytes")
    return images, num_skipped, reason


def _refuse_mixed_sizes(path: Path, images: list[Images]) -> None:
    sizes = Counter("x".join(map(str, image.shape)) for image in images)
    if len(sizes) == 1:
        return
    shown = [f"{size} ({count})" for size, count in sizes.most_common(_SIZES_SHOWN)]
    if len(sizes) > _SIZES_SHOWN:
        shown.append("…")
    raise TrainingError(
        f"{path} holds images of {len(sizes)} sizes, height x width x channels: "
        f"{', '.join(shown)}; all must be of one"
    )


def _split(images: Images) -> tuple[Images, Images, Images]:
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(images))
    num_held_out = max(1, round(_HELD_OUT * len(images)))
    test, val, train = np.split(order, [num_held_out, 2 * num_held_out])
    return images[train], images[val], images[test]
