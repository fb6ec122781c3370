"""One run: train or go on, export, evaluate, and leave everything in the run's folder."""

import contextlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from kompakt_codec.checkpoint import SUFFIX, Checkpoint
from kompakt_codec.codec import Codec
from kompakt_codec.errors import CheckpointError
from kompakt_codec.header import Header
from kompakt_training.errors import TrainingError
from kompakt_training.evaluation import Result, evaluate, write_results
from kompakt_training.export import export_checkpoint
from kompakt_training.html_report import REPORT_PAGE, write_html_report
from kompakt_training.imageset import Images, ImageSet
from kompakt_training.launch import local_rank
from kompakt_training.loop import fit, open_trainer
from kompakt_training.plots import plot_history, plot_images
from kompakt_training.processes import Processes, joined
from kompakt_training.progress import TrainingProgress, say
from kompakt_training.requirements import run_identity
from kompakt_training.run_files import LOSSES_FILE, PICTURES_FILE, held, runs_note
from kompakt_training.settings import ExportSettings, Settings
from kompakt_training.state import STATE_FILE, TrainingState
from kompakt_training.steps import Step, StepLog, StepRow
from kompakt_training.tables import write_csv
from kompakt_training.trainer import Trainer

HISTORY_FILE = "history.csv"
STEPS_FILE = "steps.csv"
RESULTS_FILE = "results.csv"

_NUM_PICTURES = 12
_PICTURE_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Run:
    """What to train and where to put it. ``command`` is recorded in the checkpoint."""

    settings: Settings
    export: ExportSettings
    images: ImageSet
    out: Path
    command: str
    init: TrainingState | None = None
    """Where the weights to start from stand."""

    @property
    def checkpoint_path(self) -> Path:
        """The checkpoint: the last file that a run writes, so its presence says that all is."""
        return self.out / f"{self.export.name}{SUFFIX}"

    @property
    def report_path(self) -> Path:
        """The page that sets the checkpoint beside the classical codecs."""
        return self.out / REPORT_PAGE

    def is_finished(self) -> bool:
        """Whether the folder holds this run's checkpoint."""
        try:
            training = Checkpoint.load(self.checkpoint_path).header.training
        except CheckpointError:
            return False
        identity = run_identity(self.settings, self.images)
        return training.command == self.command and identity.items() <= training.details.items()


def execute(run: Run, *, device: torch.device, resume: bool, console: Console) -> list[Result]:
    """Train what is left to train, then export and evaluate; the figures on the test part.

    If ``resume`` is false, an earlier run's state and checkpoint go once all is checked. Of several
    processes all train, and the first one writes and does the rest: there are no figures for the
    others. Raises TrainingError, also if another training is under way in the run's folder.
    """
    with contextlib.ExitStack() as stack:
        return _execute(run, stack, device=device, resume=resume, console=console)


def _execute(
    run: Run,
    stack: contextlib.ExitStack,
    *,
    device: torch.device,
    resume: bool,
    console: Console,
) -> list[Result]:
    state_path = run.out / STATE_FILE
    with joined(device) as processes:
        trainer = open_trainer(
            run.settings,
            run.images,
            path=state_path,
            resume=resume,
            device=device,
            init=run.init,
            processes=processes,
        )
        if processes.is_first:
            run.out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(run.out))
            _train(run, trainer, state_path, resume=resume, console=console)
        else:
            fit(trainer, path=state_path)
    if not processes.is_first:
        return []
    say(console, "freezing the tables and measuring on the test images …")
    machine = _machine(device, processes)
    return _finish(run, trainer.state, machine=machine, console=console)


def pick_device(name: str) -> torch.device:
    """``cpu``, ``cuda``, or ``auto`` for CUDA where there is one: to each process its own.

    Raises TrainingError.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device(name)
    index, count = local_rank(), torch.cuda.device_count()
    if not count:
        raise TrainingError("no CUDA device: use --device auto or --device cpu")
    if index >= count:
        raise TrainingError(
            f"more processes than the {count} CUDA devices: use --nproc-per-node {count}, "
            "or --device cpu"
        )
    return torch.device(name, index)


def pick_pictures(images: Images) -> npt.NDArray[np.int64]:
    """Indices of the images to show: always the same ones of a set."""
    count = min(_NUM_PICTURES, len(images))
    return np.random.default_rng(_PICTURE_SEED).choice(len(images), count, replace=False)


def _introduce(run: Run, trainer: Trainer, console: Console) -> None:
    images = run.images
    cut = f"{images.num_sources} images cut into tiles: " if images.crop else ""
    left = f", {images.num_left_out} more left out" if images.num_left_out else ""
    small = f", {images.num_small} smaller images skipped" if images.num_small else ""
    runs = f", {runs_note(images.num_runs)}" if images.num_runs else ""
    seen = f", {images.num_seen} of them the same as ones to train on" if images.num_seen else ""
    skipped = ""
    if images.num_skipped:
        skipped = f", {images.num_skipped} other files skipped, the first: {images.skip_reason}"
    say(
        console,
        f"{images.name}: {cut}{images.num_train_tiles} {'' if cut else 'images '}to train on{left}"
        f", {len(images.val)} to validate, {len(images.test)} to test{seen}, {images.spec}"
        f"{small}{runs}{skipped}",
    )
    num_parameters = sum(p.numel() for p in trainer.model.parameters())
    count = trainer.processes.count
    among = f" in {count} processes, {trainer.batch_size // count} images a step each"
    say(
        console,
        f"{run.settings.model}: {num_parameters} parameters, on {trainer.device.type}"
        f"{among if count > 1 else ''}",
    )
    if 0 < trainer.state.epoch < run.settings.epochs:
        say(console, f"going on after epoch {trainer.state.epoch} of {run.settings.epochs}")


def _train(run: Run, trainer: Trainer, state_path: Path, *, resume: bool, console: Console) -> None:
    progress = TrainingProgress(
        console,
        num_epochs=run.settings.epochs,
        steps_per_epoch=trainer.steps_per_epoch,
        epochs_done=trainer.state.epoch,
        pixels=_pixels(run),
    )
    log = _prepare(run, trainer, resume=resume, on_row=progress.on_row)
    _introduce(run, trainer, console)

    def on_step(step: Step) -> None:
        log.on_step(step)
        progress.on_step(step)

    def on_epoch(state: TrainingState) -> None:
        write_csv(run.out / HISTORY_FILE, state.history)
        progress.on_epoch(state)

    with progress:
        fit(trainer, path=state_path, on_step=on_step, on_epoch=on_epoch)


def _prepare(
    run: Run, trainer: Trainer, *, resume: bool, on_row: Callable[[StepRow], None]
) -> StepLog:
    """Open the steps' log in the run's folder; an earlier run goes if ``resume`` is false."""
    # Before anything goes: it refuses another file of that name.
    log = StepLog(
        run.out / STEPS_FILE,
        pixels=_pixels(run),
        batch_size=trainer.batch_size,
        epochs_done=trainer.state.epoch,
        on_row=on_row,
    )
    if not resume:
        run.checkpoint_path.unlink(missing_ok=True)
        (run.out / STATE_FILE).unlink(missing_ok=True)
    return log


def _pixels(run: Run) -> int:
    return run.images.spec.height * run.images.spec.width


def _finish(run: Run, state: TrainingState, *, machine: str, console: Console) -> list[Result]:
    checkpoint = export_checkpoint(
        state, run.settings, run.images, run.export, command=run.command, machine=machine
    )
    if checkpoint.header.labels:
        say(console, _worth_of_labels(checkpoint.header))
    codec = Codec(checkpoint)
    results = evaluate(codec, run.images.test)
    write_csv(run.out / HISTORY_FILE, state.history)
    write_results(run.out / RESULTS_FILE, results)
    name, model = run.export.name, run.settings.model
    plot_history(run.out / LOSSES_FILE, state.history, title=name, model=model)
    _plot_pictures(run.out / PICTURES_FILE, codec, run.images.test, results[0])
    say(console, "measuring the classical codecs beside it …")
    seen = run.images.num_seen
    write_html_report(run.report_path, codec, run.images.test, models=run.out, num_seen=seen)
    checkpoint.save(run.checkpoint_path)
    return results


def _worth_of_labels(header: Header) -> str:
    """What a conditional model's labels save, by its curve: no label, then each label's images."""
    alone, *labelled = header.curve
    count = sum(point.num_images for point in labelled)
    num_bytes, error = (
        sum(point.num_images * value for point, value in zip(labelled, values, strict=True)) / count
        for values in ([p.bytes_per_image for p in labelled], [p.mse for p in labelled])
    )
    return (
        f"test images with their label: {num_bytes:.2f} bytes an image, MSE {error:.5f}; without: "
        f"{alone.bytes_per_image:.2f} bytes, MSE {alone.mse:.5f}"
    )


def _plot_pictures(path: Path, codec: Codec, images: Images, result: Result) -> None:
    originals = images[pick_pictures(images)]
    decoded = codec.decompress(codec.compress(list(originals)))
    title = (
        f"{codec.header.name} on test images: {result.bytes_per_image:.1f} bytes an image, "
        f"MSE {result.mse:.4f}, {result.psnr_db:.2f} dB"
    )
    plot_images(path, {"original": originals, "decoded": np.stack(decoded)}, title=title)


def _machine(device: torch.device, processes: Processes) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return name if processes.count == 1 else f"{name}, {processes.count} processes"
