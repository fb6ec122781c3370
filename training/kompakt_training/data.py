"""Datasets by their names on the command line."""

from pathlib import Path

from kompakt_training.errors import TrainingError
from kompakt_training.folder import DEFAULT_MEMORY_GIB, load_folder
from kompakt_training.imageset import ImageSet
from kompakt_training.published import PUBLISHED, load_published

FOLDER_PREFIX = "folder:"
DATASETS = (*PUBLISHED, f"{FOLDER_PREFIX}PATH")


def is_dataset(spec: str) -> bool:
    """Whether ``spec`` names a dataset: one of ``DATASETS``, with any path after ``folder:``."""
    return spec in PUBLISHED or (spec.startswith(FOLDER_PREFIX) and spec != FOLDER_PREFIX)


def dataset_name(spec: str) -> str:
    """The name that a dataset goes by: ``spec``, but a folder's own name instead of its path."""
    if not spec.startswith(FOLDER_PREFIX):
        return spec
    return FOLDER_PREFIX + _folder_path(spec).resolve().name


def load_dataset(
    spec: str,
    data_dir: Path | None = None,
    *,
    licence: str | None = None,
    crop: int | None = None,
    memory_gib: float = DEFAULT_MEMORY_GIB,
) -> ImageSet:
    """Load ``mnist``, ``fashion-mnist`` or ``folder:PATH``, split into its three parts.

    ``data_dir`` says where the published sets lie, ``licence`` what a folder's images are under,
    ``crop`` the side of the tiles that they are cut into and ``memory_gib`` the most that they may
    take. Raises TrainingError.
    """
    if not is_dataset(spec):
        raise TrainingError(f"unknown dataset {spec!r}; known: {', '.join(DATASETS)}")
    try:
        if spec.startswith(FOLDER_PREFIX):
            folder, name = _folder_path(spec), dataset_name(spec)
            return load_folder(folder, name=name, licence=licence, crop=crop, memory_gib=memory_gib)
        return load_published(spec, data_dir)
    except ValueError as exc:
        raise TrainingError(f"{spec}: {exc}") from exc


def _folder_path(spec: str) -> Path:
    return Path(spec.removeprefix(FOLDER_PREFIX)).expanduser()
