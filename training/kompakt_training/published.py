"""MNIST and Fashion-MNIST: found on this machine, or downloaded."""

import contextlib
import hashlib
import io
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path

import numpy as np

from kompakt_training.catalogue import DATA_DIR_VARIABLE, PUBLISHED
from kompakt_training.errors import TrainingError
from kompakt_training.idx import read_idx_images, read_idx_labels
from kompakt_training.imageset import Images, ImageSet, Labels

NUM_VAL_IMAGES = 5000

_DOWNLOAD_TIMEOUT_S = 20.0
_PARTS = ("train", "t10k")


def load_published(name: str, data_dir: Path | None) -> ImageSet:
    """Load the set ``name`` of ``PUBLISHED``; the last 5,000 training images are for validation.

    Only ``data_dir`` is looked in if it is given; else KOMPAKT_DATA_DIR, the cache and where the
    system's packages install, and last the set is downloaded into the cache. Raises TrainingError.
    """
    train_file, test_file = _find_or_download(name, data_dir)
    train, test = (read_idx_images(path)[..., None] for path in (train_file, test_file))
    _check(name, train, test, test_file)
    return ImageSet(
        name=name,
        licence=PUBLISHED[name].licence,
        train=train[:-NUM_VAL_IMAGES],
        val=train[-NUM_VAL_IMAGES:],
        test=test,
        labels=_labels(train_file, test_file, counts=(len(train), len(test))),
    )


def _labels(train_file: Path, test_file: Path, *, counts: tuple[int, int]) -> Labels:
    """Those of the files beside the images', if they lie there."""
    files = [
        f.with_name(f.name.replace("images", "labels").replace("idx3", "idx1"))
        for f in (train_file, test_file)
    ]
    if not all(file.is_file() for file in files):
        return Labels()
    train, test = (read_idx_labels(file).astype(np.int64) for file in files)
    if (len(train), len(test)) != counts:
        raise TrainingError(f"{files[0].parent} has another number of labels than of images")
    return Labels(
        names=tuple(str(n) for n in range(int(max(train.max(), test.max())) + 1)),
        train=train[:-NUM_VAL_IMAGES],
        val=train[-NUM_VAL_IMAGES:],
        test=test,
    )


def cache_dir() -> Path:
    """Where downloads go: ``kompakt/data`` in the user's cache. Raises RuntimeError without one."""
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(root) if root else Path.home() / ".cache") / "kompakt" / "data"
    except RuntimeError as exc:
        raise RuntimeError("no home folder to keep it in: set XDG_CACHE_HOME") from exc


def _find_or_download(name: str, data_dir: Path | None) -> list[Path]:
    dirs = _dirs_to_search(name, data_dir)
    if found := _find(dirs):
        return found
    ways = f"give their folder with --data-dir or {DATA_DIR_VARIABLE}"
    places = f"no {PUBLISHED[name].title} files in {', '.join(map(str, dirs))}"
    if data_dir is not None:
        raise TrainingError(f"{places}; {ways}, or leave --data-dir out to download them")
    try:
        _download(name)
    except (OSError, RuntimeError, HTTPException) as exc:
        if found := _find(_cached(name)):  # another process downloaded it meanwhile
            return found
        reason = next(iter(str(exc).splitlines()[::-1]), type(exc).__name__)
        raise TrainingError(
            f"{places}, and the download failed ({reason}); {ways}, "
            "or try again with access to the internet"
        ) from exc
    return _find(_cached(name))


def _dirs_to_search(name: str, data_dir: Path | None) -> list[Path]:
    if data_dir is not None:
        return _layouts(name, data_dir)
    named = os.environ.get(DATA_DIR_VARIABLE)
    return [
        *(_layouts(name, Path(named)) if named else []),
        *_cached(name),
        *PUBLISHED[name].system_dirs,
    ]


def _cached(name: str) -> list[Path]:
    try:
        return _layouts(name, cache_dir())
    except RuntimeError:
        return []


def _layouts(name: str, root: Path) -> list[Path]:
    return [root / name, root / PUBLISHED[name].torchvision_class / "raw", root]


def _find(dirs: Sequence[Path]) -> list[Path]:
    """The files of the training and the test part in the first of ``dirs`` that has both."""
    for folder in dirs:
        spellings = [
            [folder / f"{part}-images{dot}idx3-ubyte{end}" for dot in "-." for end in ("", ".gz")]
            for part in _PARTS
        ]
        found = [next((p for p in paths if p.is_file()), None) for paths in spellings]
        files = [path for path in found if path is not None]
        if len(files) == len(_PARTS):
            return files
    return []


def _check(name: str, train: Images, test: Images, test_file: Path) -> None:
    digest = hashlib.sha256(test.tobytes()).hexdigest()
    for other, published in PUBLISHED.items():
        if other != name and published.test_sha256 == digest:
            raise TrainingError(
                f"{test_file.parent} holds {published.title}: train with --dataset {other}, "
                f"or give the folder of {PUBLISHED[name].title} with --data-dir"
            )
    if len(train) <= NUM_VAL_IMAGES or train.shape[1:] != test.shape[1:]:
        raise TrainingError(
            f"{test_file.parent} is not {PUBLISHED[name].title}: training images "
            f"{train.shape[:3]}, test images {test.shape[:3]}"
        )


def _download(name: str) -> None:
    """Download into the cache, whole or not at all. Raises OSError, RuntimeError, HTTPException."""
    from torchvision import datasets  # takes a second to import and is seldom needed

    target = cache_dir() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    class_name = PUBLISHED[name].torchvision_class
    with (
        tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as folder,
        _socket_timeout(_DOWNLOAD_TIMEOUT_S),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        getattr(datasets, class_name)(folder, download=True)
        (Path(folder) / class_name / "raw").replace(target)


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
