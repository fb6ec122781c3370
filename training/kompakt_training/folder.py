"""A folder of image files as a dataset."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kompakt_training.errors import TrainingError
from kompakt_training.folder_survey import Source, Survey, Track, read_again, survey_of, untracked
from kompakt_training.imageset import Images, ImageSet, Labels
from kompakt_training.run_files import runs_note
from kompakt_training.tiles import MAX_SIDE, Size, cut, default_side, num_held, share

MIN_FOLDER_IMAGES = 20
DEFAULT_MEMORY_GIB = 2.0
"""For the pixels of all parts."""
MAX_FOLDER_BYTES = int(DEFAULT_MEMORY_GIB * 2**30)
MAX_TRAIN_TILES = 60_000
MAX_HELD_OUT_TILES = 5_000
"""In each of the validation and the test part."""

_HELD_OUT = 0.05
_SPLIT_SEED = 0
_GIB = 1 << 30

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """How many tiles to take of which images."""

    indices: Indices
    counts: Sequence[int]
    tile: Size
    num_left_out: int
    """Tiles that the images hold beside those."""


def load_folder(
    path: Path,
    *,
    name: str,
    licence: str | None = None,
    crop: int | None = None,
    memory_gib: float = DEFAULT_MEMORY_GIB,
    own: Sequence[Path] = (),
    track: Track = untracked,
) -> ImageSet:
    """Load the images below ``path``: whole if they agree in size, else cut into tiles.

    With ``crop``, the side of the tiles, images of one size are cut too; without it the tiles are
    as ``default_side`` says. Images smaller than a tile are skipped and counted, and so are files
    that are not images. Grey becomes RGB where any image is RGB. The split, 90/5/5, is by image,
    never by tile, and depends only on the names of the images' files, never on a run's seed or the
    tiles: those skipped as too small are split too, and leave their part smaller. Of images that
    hold more tiles than ``memory_gib`` (at least 0.1), as many as fit are taken, drawn from all of
    them. Folders of runs, and ``own``, are left out as ``files_below`` says. All
    images are read once, and those taken again, each time through ``track``.
    Raises TrainingError; ValueError for images of a size that no model accepts.
    """
    if not path.is_dir():
        raise TrainingError(f"{path} is not a folder")
    survey = survey_of(path, own, track)
    side = crop or _side_needed(survey.sources)
    tile = (side, side) if side else survey.sources[0].size
    is_large = np.array([num_held(source.size, tile) > 0 for source in survey.sources], np.bool_)
    sources = [s for s, large in zip(survey.sources, is_large, strict=True) if large]
    num_small = len(survey.sources) - len(sources)
    parts = _split(is_large)
    if lack := _lack(len(sources), parts):
        small = f"{num_small} smaller than {tile[0]}x{tile[1]}" if num_small else ""
        raise TrainingError(f"{_holding(path, len(sources), small, survey)}: {lack}")
    max_bytes = int(memory_gib * _GIB)
    if not side:
        _refuse_too_much(path, sources, max_bytes)
    plan = _plan(sources, parts, tile, max_bytes if side else None)
    train, val, test = (_load(sources, part, track) for part in plan)
    return ImageSet(
        name=name,
        licence=licence or "not stated",
        train=train,
        val=val,
        test=test,
        labels=_labels(sources, plan),
        num_skipped=survey.num_skipped,
        skip_reason=survey.reason,
        crop=side,
        num_sources=len(sources),
        num_small=num_small,
        num_runs=survey.num_runs,
        num_seen=_num_seen(sources, plan),
        num_left_out=plan[0].num_left_out * math.prod(plan[0].tile) // math.prod(tile),
    )


def _side_needed(sources: Sequence[Source]) -> int | None:
    """The side of the tiles, None where every image can be taken whole."""
    sizes = [source.size for source in sources]
    if len(set(sizes)) == 1 and max(sizes[0]) <= MAX_SIDE:
        return None
    return default_side(sizes)


def _lack(count: int, parts: Sequence[Indices]) -> str:
    """Why so many images, in these parts, are too few; empty if they are not."""
    if count < MIN_FOLDER_IMAGES:
        return f"at least {MIN_FOLDER_IMAGES} are needed"
    for name, part in zip(("training", "validation", "test"), parts, strict=True):
        if not len(part):
            return f"none is left in the {name} part: give a smaller --crop, or more images"
    return ""


def _holding(path: Path, count: int, small: str, survey: Survey) -> str:
    others = f"{survey.num_skipped} files skipped, the first: {survey.reason}"
    parts = [small, others * bool(survey.num_skipped), runs_note(survey.num_runs)]
    notes = "; ".join(part for part in parts if part)
    counted = f"{count} images ({notes})" if notes else f"{count} images"
    return f"{path} holds {counted}"


def _num_seen(sources: Sequence[Source], plan: Sequence[_Part]) -> int:
    """How many test images have the pixels of one to train on, or are tiles of such images."""
    train, _, test = (
        [((sources[i].size, sources[i].digest), count) for i, count in taken]
        for taken in (zip(part.indices, part.counts, strict=True) for part in plan)
    )
    known = {image for image, count in train if count}
    return sum(count for image, count in test if image in known)


def _refuse_too_much(path: Path, sources: Sequence[Source], max_bytes: int) -> None:
    height, width = sources[0].size
    needed = len(sources) * height * width * _channels(sources)
    if needed > max_bytes:
        raise TrainingError(
            f"the images in {path} take {needed / _GIB:.3g} GiB of memory, more than "
            f"{max_bytes / _GIB:.3g}: allow it (--image-memory GIB), have tiles cut out of them "
            "(--crop N), or take fewer"
        )


def _channels(sources: Sequence[Source]) -> int:
    return max(source.channels for source in sources)


def _labels(sources: Sequence[Source], plan: Sequence[_Part]) -> Labels:
    """Each tile's class, where every image lies in a folder of its class."""
    names = sorted({source.label for source in sources})
    if len(names) < 2 or not names[0]:
        return Labels()
    numbers = {name: number for number, name in enumerate(names)}
    classes = np.array([numbers[source.label] for source in sources], np.int64)
    train, val, test = (classes[np.repeat(part.indices, part.counts)] for part in plan)
    return Labels(names=tuple(names), train=train, val=val, test=test)


def _plan(
    sources: Sequence[Source], parts: Sequence[Indices], tile: Size, max_bytes: int | None
) -> list[_Part]:
    """What to take for training, validation and test; ``max_bytes`` if it is tiles, else all."""
    channels = _channels(sources)
    most = (MAX_TRAIN_TILES, MAX_HELD_OUT_TILES, MAX_HELD_OUT_TILES)
    plan = []
    for index, (part, count) in enumerate(zip(parts, most, strict=True)):
        sizes = [sources[i].size for i in part]
        piece, limit = tile, len(part)
        if max_bytes is not None:
            piece = _wide(sizes, tile) if index == 0 else tile
            held = max_bytes // (math.prod(tile) * channels)
            limit = min(count, held * count // sum(most)) * math.prod(tile) // math.prod(piece)
        counts = share(sizes, piece, limit=limit)
        left_out = sum(num_held(size, piece) for size in sizes) - sum(counts)
        plan.append(_Part(indices=part, counts=counts, tile=piece, num_left_out=left_out))
    return plan


def _wide(sizes: Sequence[Size], tile: Size) -> Size:
    """The pieces to train on: of two by two tiles, where every image holds at least four by four.

    Each epoch takes its crops out of them at other places; smaller images would lose too much at
    their edges.
    """
    is_large = all(h >= 4 * tile[0] and w >= 4 * tile[1] for h, w in sizes)
    return (2 * tile[0], 2 * tile[1]) if is_large else tile


def _load(sources: Sequence[Source], part: _Part, track: Track) -> Images:
    """The tiles of a part's images (N, *tile, channels), which are read one at a time."""
    tiles = np.empty((sum(part.counts), *part.tile, _channels(sources)), np.uint8)
    end = 0
    taken = [pair for pair in zip(part.indices.tolist(), part.counts, strict=True) if pair[1]]
    for index, count in track(taken):
        # Grey is broadcast over the three channels where the set is RGB.
        image = read_again(sources[index])
        chosen = cut(image, part.tile, count=count, seed=[_SPLIT_SEED, index])
        tiles[end : end + count] = chosen
        end += count
    return tiles


def _split(is_kept: npt.NDArray[np.bool_]) -> tuple[Indices, Indices, Indices]:
    """Which images are for training, for validation and for the test, numbered among those kept.

    The others are split with them, so that which are kept moves none to another part.
    """
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(is_kept))
    num_held_out = max(1, round(_HELD_OUT * len(is_kept)))
    numbers = np.cumsum(is_kept) - 1
    test, val, train = (
        numbers[part[is_kept[part]]] for part in np.split(order, [num_held_out, 2 * num_held_out])
    )
    return train, val, test
