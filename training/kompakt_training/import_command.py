"""What ``kompakt import-compressai`` does: a CompressAI model as a checkpoint that just loads."""

import argparse
import hashlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from kompakt_codec.checkpoint import SUFFIX
from kompakt_codec.codec import Codec
from kompakt_codec.errors import CodecError
from kompakt_codec.header import Training
from kompakt_codec.images import Pixels
from kompakt_training.catalogue import as_text
from kompakt_training.compressai_import import Imported, RateLoss, import_state, measure
from kompakt_training.compressai_state import read_state
from kompakt_training.errors import TrainingError
from kompakt_training.image_files import read_image
from kompakt_training.progress import say
from kompakt_training.terminal import Parser

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def import_model(parser: Parser, args: argparse.Namespace) -> None:
    """Write what ``kompakt import-compressai`` is asked for. Raises TrainingError."""
    name = args.name or args.architecture
    if not _NAME.fullmatch(name):
        parser.error(f"--name must be of a-z, 0-9, '.', '_' and '-', not {name!r}")
    if args.out.suffix != SUFFIX:
        parser.error(f"--out must end in {SUFFIX}, or no server finds it")
    if not args.out.parent.is_dir():
        raise TrainingError(f"{args.out}: {args.out.parent} is not a folder")
    imported = import_state(read_state(args.file, args.architecture))
    training = _training(args)
    loss = _measure(imported, name, training, args.calibrate) if args.calibrate else None
    if loss is not None:
        details = {
            **training.details,
            "estimated_bits_per_image": loss.estimated_bits / loss.measured.num_images,
            "rate_loss_percent": loss.percent,
        }
        training = training.model_copy(update={"details": details})
    measured = loss.measured if loss else None
    imported.checkpoint(name=name, training=training, measured=measured).save(args.out)
    for line in _report(args.out, imported, loss):
        say(Console(), line)


def _training(args: argparse.Namespace) -> Training:
    with args.file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Training(
        dataset=as_text(args.dataset),
        licence=as_text(args.licence),
        num_images=0,
        epochs=0,
        command=as_text(
            shlex.join(["kompakt", "import-compressai", args.file.name, *_options(args)])
        ),
        details={"source": f"CompressAI {args.architecture}", "source_sha256": digest},
    )


def _options(args: argparse.Namespace) -> list[str]:
    """What decides the checkpoint: no one's folders are in it."""
    return ["--architecture", args.architecture, "--out", args.out.name]


def _measure(imported: Imported, name: str, training: Training, folder: Path) -> RateLoss:
    codec = Codec(imported.checkpoint(name=name, training=training))
    return measure(codec, imported.rate, _images(folder), dataset=as_text(folder.resolve().name))


def _images(folder: Path) -> Iterator[Pixels]:
    """The images below a folder, by name, grey ones as RGB."""
    if not folder.is_dir():
        raise TrainingError(f"{folder} is not a folder")
    found = False
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            image = read_image(file)
        except CodecError:
            continue
        found = True
        yield np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))
    if not found:
        raise TrainingError(f"{folder} holds no image")


def _report(path: Path, imported: Imported, loss: RateLoss | None) -> Iterator[str]:
    size = path.stat().st_size / 1e6
    yield f"wrote {path}: {imported.architecture} of {imported.config}, {size:.1f} MB"
    if loss is not None:
        m = loss.measured
        yield (
            f"{m.num_images} images: {m.bits_per_pixel:.4f} bits a pixel of real bytes, "
            f"MSE {m.mse:.5f}; payloads take {loss.percent:+.2f}% beside CompressAI's estimate"
        )
