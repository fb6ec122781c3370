"""What a run needs of its images, and what makes it the same run."""

import numpy as np

from kompakt_training.catalogue import as_text
from kompakt_training.errors import TrainingError
from kompakt_training.imageset import ImageSet
from kompakt_training.losses import CONDITIONAL
from kompakt_training.processes import Processes
from kompakt_training.settings import Settings


def run_identity(settings: Settings, images: ImageSet) -> dict[str, str | int | float]:
    """All that must be the same for one run to go on with another's state."""
    identity = {**settings.flat(), "images_sha256": images.sha256}
    if settings.model in CONDITIONAL:
        identity["labels_sha256"] = images.labels.sha256
    return identity


def require_labels(settings: Settings, images: ImageSet) -> None:
    """Raise TrainingError unless the images have the labels that the model needs."""
    if settings.model in CONDITIONAL:
        _require_labels(images, settings.config["classes"])


def batch_size_of(settings: Settings, images: ImageSet, processes: Processes) -> int:
    """The images of a step, in all processes together: fewer where there are not as many.

    Raises TrainingError if they cannot be shared out, at least two to each process.
    """
    size = min(settings.batch_size, len(images.train))
    if processes.count > 1 and (size % processes.count or size < 2 * processes.count):
        raise TrainingError(
            f"a batch of {size} images cannot be shared among {processes.count} processes: "
            f"--batch-size must be a multiple of {processes.count}, at least "
            f"{2 * processes.count}, and no more than the {len(images.train)} images to train on"
        )
    return size


def _require_labels(images: ImageSet, classes: int) -> None:
    labels = images.labels
    if not labels.names:
        raise TrainingError(
            f"{images.name} has no labels: a folder needs one subfolder for each class, a "
            "published set the files of its labels beside those of its images"
        )
    if strange := [name for name in labels.names if as_text(name) != name]:
        raise TrainingError(
            f"{images.name}: the name of the class {as_text(strange[0])!r} is not in UTF-8: rename "
            "its folder"
        )
    if len(labels.names) != classes:
        raise TrainingError(
            f"{images.name} has {len(labels.names)} classes, not {classes}: leave --classes out"
        )
    for part in (labels.train, labels.test):
        missing = set(range(classes)) - set(np.unique(np.asarray(part)).tolist())
        if missing:
            name = labels.names[min(missing)]
            raise TrainingError(
                f"{images.name}: no image of {name} among those to train on, or to test on: every "
                "class needs more images"
            )
