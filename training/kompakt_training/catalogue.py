"""Datasets by their names on the command line."""

import os
from dataclasses import dataclass
from pathlib import Path

DATA_DIR_VARIABLE = "KOMPAKT_DATA_DIR"
FOLDER_PREFIX = "folder:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A set that anyone can download."""

    title: str
    licence: str
    torchvision_class: str
    test_sha256: str
    """Of the test part's pixels: the file names of both sets are the same."""
    system_dirs: tuple[Path, ...] = ()


PUBLISHED: dict[str, Published] = {
    "mnist": Published(
        title="MNIST",
        licence="CC BY-SA 3.0",
        torchvision_class="MNIST",
        test_sha256="6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    ),
    "fashion-mnist": Published(
        title="Fashion-MNIST",
        licence="MIT",
        torchvision_class="FashionMNIST",
        test_sha256="c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        system_dirs=(Path("/usr/share/datasets/fashion-mnist"),),  # Debian: dataset-fashion-mnist
    ),
}
DATASETS = (*PUBLISHED, f"{FOLDER_PREFIX}PATH")


def is_dataset(spec: str) -> bool:
    """Whether ``spec`` names a dataset: one of ``DATASETS``, with any path after ``folder:``."""
    return spec in PUBLISHED or (spec.startswith(FOLDER_PREFIX) and spec != FOLDER_PREFIX)


def dataset_name(spec: str) -> str:
    """The name that a dataset goes by: ``spec``, but a folder's own name instead of its path."""
    if not spec.startswith(FOLDER_PREFIX):
        return spec
    return FOLDER_PREFIX + as_text(folder_path(spec).resolve().name)


def as_text(name: str) -> str:
    """A name as UTF-8 can hold it: files may have other bytes in theirs, here each a "?"."""
    return name.encode(errors="replace").decode()


def folder_path(spec: str) -> Path:
    """The path after ``folder:``."""
    return expanded(spec.removeprefix(FOLDER_PREFIX))


def expanded(path: str) -> Path:
    """A path with the home that it begins with, if that is known."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  Path's own raises RuntimeError
