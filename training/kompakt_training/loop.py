"""The training loop: epochs, each saved, from the start or from where a run was stopped."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from kompakt_training.arguments import flag
from kompakt_training.errors import TrainingError
from kompakt_training.imageset import ImageSet
from kompakt_training.processes import Processes
from kompakt_training.settings import Settings
from kompakt_training.state import TrainingState, load_state, save_state
from kompakt_training.steps import OnStep, ignore
from kompakt_training.trainer import Trainer

_START_AGAIN = "start again (train --no-resume, report --retrain)"


def open_trainer(
    settings: Settings,
    images: ImageSet,
    *,
    path: Path,
    resume: bool,
    device: torch.device,
    init: TrainingState | None = None,
    processes: Processes | None = None,
) -> Trainer:
    """A trainer at the start, with ``init``'s best weights, or where the state in ``path`` stands.

    Raises TrainingError if that run has other settings or images, or the file is damaged, or if not
    all processes stand at the same point.
    """
    trainer = Trainer(settings, images, device, processes or Processes())
    if resume and path.exists():
        try:
            state = load_state(path)
        except TrainingError as exc:
            raise TrainingError(f"{exc}: {_START_AGAIN}") from exc
        _refuse_other_run(path, theirs=state.settings, ours=trainer.state.settings)
        trainer.resume(state)
    elif init is not None:
        trainer.start_from(init.best_weights)
    trainer.require_same_start()
    return trainer


def fit(
    trainer: Trainer,
    *,
    path: Path,
    on_step: OnStep = ignore,
    on_epoch: Callable[[TrainingState], None] = ignore,
) -> None:
    """Train the epochs that are left, saving the state in ``path`` after each of them.

    Of several processes, the first one saves and calls back.
    """
    is_first = trainer.processes.is_first
    while trainer.state.epoch < trainer.settings.epochs:
        trainer.run_epoch(on_step if is_first else ignore)
        if is_first:
            save_state(path, trainer.state)
            on_epoch(trainer.state)


def _refuse_other_run(
    path: Path,
    *,
    theirs: Mapping[str, str | int | float],
    ours: Mapping[str, str | int | float],
) -> None:
    for key in {**ours, "init": "", "mirror": ""}:
        if theirs.get(key, "") == ours.get(key, ""):
            continue
        what = f"{flag(key)} {theirs.get(key)}, not {ours.get(key)}"
        if key in ("images_sha256", "labels_sha256"):
            what = f"other {key.removesuffix('_sha256')}"
        if key in ("init", "mirror"):
            what = f"another {flag(key)}"
        raise TrainingError(
            f"{path.parent} holds a run with {what}: give the same settings or another --out, "
            f"or {_START_AGAIN}"
        )
