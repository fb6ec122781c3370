"""Datasets loaded by their names."""

from collections.abc import Sequence
from pathlib import Path

from kompakt_training.catalogue import (
    DATASETS,
    FOLDER_PREFIX,
    dataset_name,
    folder_path,
    is_dataset,
)
from kompakt_training.errors import TrainingError
from kompakt_training.folder import DEFAULT_MEMORY_GIB, load_folder
from kompakt_training.folder_survey import Track, untracked
from kompakt_training.imageset import ImageSet
from kompakt_training.published import load_published


def load_dataset(
    spec: str,
    data_dir: Path | None = None,
    *,
    licence: str | None = None,
    crop: int | None = None,
    memory_gib: float = DEFAULT_MEMORY_GIB,
    own: Sequence[Path] = (),
    track: Track = untracked,
) -> ImageSet:
    """Load ``mnist``, ``fashion-mnist`` or ``folder:PATH``, split into its three parts.

    ``data_dir`` says where the published sets lie, ``licence`` what a folder's images are under,
    ``crop`` the side of the tiles that they are cut into, ``memory_gib`` the most that they may
    take and ``own`` the folders of a run that is to be trained on them; ``track`` shows how many of
    them are read. Raises TrainingError.
    """
    if not is_dataset(spec):
        raise TrainingError(f"unknown dataset {spec!r}; known: {', '.join(DATASETS)}")
    try:
        if spec.startswith(FOLDER_PREFIX):
            folder, name = folder_path(spec), dataset_name(spec)
            return load_folder(
                folder,
                name=name,
                licence=licence,
                crop=crop,
                memory_gib=memory_gib,
                own=own,
                track=track,
            )
        return load_published(spec, data_dir)
    except ValueError as exc:
        raise TrainingError(f"{spec}: {exc}") from exc
