"""The models of a directory that a benchmark can measure."""

from dataclasses import dataclass
from pathlib import Path

from kompakt_codec.baselines import BASELINES
from kompakt_codec.checkpoint import SUFFIX
from kompakt_codec.codec import Codec
from kompakt_codec.errors import CheckpointError
from kompakt_training.bench_data import BenchImages
from kompakt_training.errors import TrainingError


@dataclass(frozen=True, slots=True)
class BenchModel:
    """A model, and where its checkpoint lies."""

    codec: Codec
    path: Path

    @property
    def name(self) -> str:
        """As its header has it."""
        return self.codec.header.name


def load_models(directory: Path, data: BenchImages) -> tuple[list[BenchModel], list[str]]:
    """The models that accept all images, by their files' names, and why others are left out.

    Raises TrainingError if there is none, if two have the same name, or one that of a classical
    codec: points and summaries are told apart by it.
    """
    if not directory.is_dir():
        fault = "is not a directory" if directory.exists() else "does not exist"
        raise TrainingError(f"--models: {directory} {fault}")
    paths = sorted(directory.glob(f"*{SUFFIX}"))
    if not paths:
        raise TrainingError(f"no checkpoint (*{SUFFIX}) in {directory}")
    models: dict[str, BenchModel] = {}
    reasons = []
    for path in paths:
        try:
            model = BenchModel(Codec.load(path), path)
        except CheckpointError as exc:
            reasons.append(str(exc))
            continue
        if not _accepts(model.codec, data):
            reasons.append(f"{model.name} is for images of {model.codec.shapes}")
        elif model.name in BASELINES:
            raise TrainingError(
                f"{path}: a model named {model.name!r}, as a classical codec is: "
                "give it another name (kompakt train --name)"
            )
        elif model.name in models:
            raise TrainingError(f"{path}: a second model named {model.name!r}")
        else:
            models[model.name] = model
    if not models:
        raise TrainingError(
            f"no model in {directory} accepts images of {data.size}: {'; '.join(reasons)}"
        )
    return list(models.values()), reasons


def _accepts(codec: Codec, data: BenchImages) -> bool:
    return all(
        (height, width) in codec.sizes and channels == codec.header.channels
        for height, width, channels in {image.shape for image in data.images}
    )
