"""What ``kompakt report`` does: the paper's comparison again, with the rate that it left out."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from kompakt_codec.checkpoint import SUFFIX
from kompakt_codec.codec import Codec
from kompakt_codec.files import write_whole
from kompakt_codec.process import prepare_process
from kompakt_training.comparison import (
    PAPER,
    ModelFigures,
    Row,
    compare_lossless,
    compare_model,
    save_csv,
    to_markdown,
    to_table,
)
from kompakt_training.data import load_dataset
from kompakt_training.errors import TrainingError
from kompakt_training.imageset import Images, ImageSet
from kompakt_training.plots import plot_both_losses, plot_images
from kompakt_training.progress import say, stdout_console
from kompakt_training.recipes import PAPER_MODELS
from kompakt_training.run import HISTORY_FILE, Run, execute, pick_device, pick_pictures
from kompakt_training.settings import ExportSettings, Settings, command_line, default_name
from kompakt_training.state import HistoryRow
from kompakt_training.tables import read_history

REPORT_FILE = "report.md"
TABLE_FILE = "comparison.csv"
LOSSES_FILE = "loss_curves.png"
DIGITS_FILE = "digits.png"

_DATASET = "mnist"


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """A model to report on, and its training's history if that is at hand."""

    codec: Codec
    history: list[HistoryRow] | None


def report(args: argparse.Namespace) -> None:
    """Write what the arguments of ``kompakt report`` ask for. Raises TrainingError."""
    console = stdout_console()
    device = pick_device(args.device)
    prepare_process()
    images = load_dataset(_DATASET, args.data_dir)
    given = {model: path for model in PAPER_MODELS if (path := getattr(args, model))}
    opened = {model: _open_subject(path, model, images) for model, path in given.items()}
    args.out.mkdir(parents=True, exist_ok=True)
    subjects: dict[str, _Subject] = {}
    for model in PAPER_MODELS:
        if model not in opened:
            path = _train(
                args.out / model,
                model,
                images,
                device=device,
                retrain=args.retrain,
                console=console,
            )
            opened[model] = _open_subject(path, model, images)
        subjects[model] = opened[model]
    say(console, "measuring on the test digits …")
    figures = {
        model: compare_model(subject.codec, images.test, num_baseline_images=args.baseline_images)
        for model, subject in subjects.items()
    }
    rows = [
        *PAPER,
        *(f.row for f in figures.values()),
        *compare_lossless(images.test),
        *(f.webp for f in figures.values()),
    ]
    _write(args.out, subjects, figures, rows, images.test)
    console.print(to_table(rows, title="MNIST's test digits, a stream for each"))
    say(console, f"wrote {args.out / REPORT_FILE}")


def _train(
    folder: Path,
    model: str,
    images: ImageSet,
    *,
    device: torch.device,
    retrain: bool,
    console: Console,
) -> Path:
    """The checkpoint of the default recipe's run in ``folder``: finished, gone on with, or new."""
    settings = Settings.from_recipe(model)
    export = ExportSettings(name=default_name(_DATASET, model))
    run = Run(
        settings=settings,
        export=export,
        images=images,
        out=folder,
        command=command_line(settings, export, dataset=_DATASET),
    )
    if retrain or not run.is_finished():
        execute(run, device=device, resume=not retrain, console=console)
    return run.checkpoint_path


def _open_subject(path: Path, model: str, images: ImageSet) -> _Subject:
    checkpoint = _find_checkpoint(path) if path.is_dir() else path
    codec = Codec.load(checkpoint)
    header = codec.header
    if header.architecture != model or header.spec != images.spec:
        raise TrainingError(
            f"{checkpoint} is a {header.architecture} for {header.spec} images, where the report "
            f"needs a {model} for {images.spec}"
        )
    history = checkpoint.parent / HISTORY_FILE
    return _Subject(codec=codec, history=read_history(history) if history.exists() else None)


def _find_checkpoint(folder: Path) -> Path:
    found = sorted(folder.glob(f"*{SUFFIX}"))
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise TrainingError(f"{folder} must hold one checkpoint; found: {names}; give its path")
    return found[0]


def _write(
    out: Path,
    subjects: dict[str, _Subject],
    figures: dict[str, ModelFigures],
    rows: list[Row],
    images: Images,
) -> None:
    save_csv(out / TABLE_FILE, rows)
    shown = pick_pictures(images)
    pictures = {"original": images[shown]}
    for model, figure in figures.items():
        pictures[model.upper()] = figure.decoded[shown]
    plot_images(out / DIGITS_FILE, pictures, title="Test digits, decoded from their streams")
    histories = {model: s.history for model, s in subjects.items() if s.history is not None}
    if len(histories) == len(subjects):
        plot_both_losses(out / LOSSES_FILE, histories)
    text = _markdown(subjects, rows, has_losses=len(histories) == len(subjects))
    write_whole(out / REPORT_FILE, text.encode())


def _markdown(subjects: dict[str, _Subject], rows: list[Row], *, has_losses: bool) -> str:
    losses = (
        f"![Loss curves]({LOSSES_FILE})"
        if has_losses
        else "The loss curves are left out: a checkpoint was given without its run's history."
    )
    num_webp = rows[-1].num_images
    commands = "\n".join(f"    {s.codec.header.training.command}" for s in subjects.values())
    return f"""# The paper's comparison, with its rate

{to_markdown(rows)}
Every figure but the paper's is measured on streams that were really coded and decoded, one for each
digit. MSE is on pixels from 0 to 1, pooled over the digits, and PSNR is of that MSE. Bytes are the
mean of a digit: as a bare stream, which is what travels in a message, and as a file that stands
alone. "WebP as" a model is, digit by digit, the smallest WebP file that is no worse than what the
model made of the same digit; WebP's lowest quality can still be better. Its search is slow, so
it is measured on {num_webp} digits, a fixed sample.

![Digits]({DIGITS_FILE})

{losses}

Made by:

{commands}
"""
