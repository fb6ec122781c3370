"""From trained weights to a checkpoint: the quantiser fixed, tables frozen, rate measured."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.codec import Codec
from kompakt_codec.context_coder import MAX_INDEX, ContextEntropy
from kompakt_codec.entropy import (
    MAX_TABLE_LENGTH,
    EntropyModel,
    EntropyTables,
    frequencies_from_counts,
)
from kompakt_codec.frame import Profile
from kompakt_codec.header import Measured, Training
from kompakt_codec.hyper_coder import HyperEntropy
from kompakt_codec.live_channels import LiveEntropy
from kompakt_codec.models import ContextModel, HyperpriorModel, TransformModel, build_model
from kompakt_codec.table_coder import TableEntropy
from kompakt_training.errors import TrainingError
from kompakt_training.evaluation import evaluate_codec
from kompakt_training.imageset import Images, ImageSet, LabelNumbers, Labels
from kompakt_training.losses import CONDITIONAL
from kompakt_training.quantiser import fit_step, symbols_of
from kompakt_training.recipes import RECIPES
from kompakt_training.requirements import run_identity
from kompakt_training.settings import ExportSettings, Settings
from kompakt_training.state import TrainingState

_MAX_TABLE_SYMBOL = 1 << 14
_MAX_SIDE_SYMBOL = 1 << 10
_ENOUGH_SYMBOLS = 1 << 24
"""So many of a level show how often each is; those of all photographs would not fit into memory."""
_SIDE_BATCH = 256
_REFINEMENT_MARGIN = 2
"""How far beyond what g_a's latents gave in training an index may be."""


def export_checkpoint(
    state: TrainingState,
    settings: Settings,
    images: ImageSet,
    export: ExportSettings,
    *,
    command: str,
    machine: str,
) -> Checkpoint:
    """Make a checkpoint of the state's best weights, on the CPU.

    The training part fixes the step and the tables; rate and distortion are of embedded frames of
    the test part, really coded and decoded. Raises TrainingError.
    """
    model = build_model(settings.model, images.spec, settings.config)
    model.load_state_dict(state.best_weights)
    labels = images.labels if settings.model in CONDITIONAL else Labels()
    tiles = images.train_tiles
    classes = None
    if labels.train is not None:
        classes = labels.train.repeat(len(tiles) // len(images.train))
    entropy = freeze(model.eval(), tiles, step_scale=export.step_scale, labels=classes)
    training = Training(
        dataset=images.name,
        licence=images.licence,
        num_images=len(tiles),
        epochs=settings.epochs,
        command=command,
        details=_details(state, settings, images, export, machine),
    )

    middle = export.default_level
    if middle is None:
        middle = 0 if labels.names else default_level(model.levels)

    def create(curve: Sequence[Measured]) -> Checkpoint:
        return Checkpoint.create(
            name=export.name,
            architecture=settings.model,
            config=dict(settings.config),
            spec=images.spec,
            model=model,
            entropy=entropy,
            training=training,
            default_level=middle,
            labels=labels.names,
            weights="float16" if RECIPES[settings.model].rate_distortion else "float32",
            measured=curve[middle] if curve else None,
            curve=tuple(curve) if len(curve) > 1 else (),
        )

    return create(_measure(Codec(create(())), images, labels))


def default_level(levels: int) -> int:
    """The level of a request that names none: the middle one."""
    return levels // 2


def freeze(
    model: TransformModel,
    images: Images,
    *,
    step_scale: float,
    labels: LabelNumbers | None = None,
) -> EntropyModel:
    """Set the model's step, then fix its probabilities by the symbols of ``images``.

    With ``labels`` (N,), the tables of a label are those of its own images.
    """
    if model.any_size:
        images = images[: _ENOUGH_SYMBOLS // math.prod(model.latent_shape_of(images.shape[1:3]))]
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    if isinstance(model, ContextModel):
        reaches = [np.abs(symbols_of(model, pixels, q)).max() for q in range(model.levels)]
        indices = [-(-int(reach) // model.symbol_step) for reach in reaches]
        bounds = [min(MAX_INDEX, index + _REFINEMENT_MARGIN) for index in indices]
        dependent = model.quantiser.dependent
        return ContextEntropy.freeze(model.prior, max_symbols=bounds, dependent=dependent)
    if isinstance(model, HyperpriorModel):
        symbols = (symbols_of(model, pixels, q) for q in range(model.levels))
        return _freeze_hyperprior(model, symbols)
    fit_step(model, pixels, step_scale)
    levels = range(model.levels)
    return TableEntropy(
        [
            build_tables(
                symbols_of(model, pixels[of_level(labels, level)], level), any_size=model.any_size
            )
            for level in levels
        ]
    )


def of_level(labels: LabelNumbers | None, level: int) -> slice | npt.NDArray[np.bool_]:
    """Which images a level is for: with ``labels`` (N,), those of its label."""
    return slice(None) if labels is None or level == 0 else labels == level - 1


def _freeze_hyperprior(
    model: HyperpriorModel, symbols: Iterable[npt.NDArray[np.float32]]
) -> HyperEntropy | LiveEntropy:
    """The side information is what the frozen networks make of each level's symbols.

    Channels that are 0 in all of these are not coded.
    """
    side = model.prior.side_channels
    wide = EntropyTables(
        shape=(side, 1, 1),
        minimums=[-_MAX_SIDE_SYMBOL] * side,
        frequencies=[frequencies_from_counts(np.ones(2 * _MAX_SIDE_SYMBOL, np.int64))] * side,
    )
    draft = HyperEntropy.freeze(model.prior, TableEntropy([wide] * model.levels))
    tables = []
    live = np.zeros(draft.channels, np.bool_)
    for level, y in enumerate(symbols):
        clipped = draft.quantise(y, [level] * len(y))
        live |= clipped.any((0, 2, 3))
        parts = [
            draft.side_information(
                clipped[i : i + _SIDE_BATCH], [level] * len(clipped[i : i + _SIDE_BATCH])
            )
            for i in range(0, len(clipped), _SIDE_BATCH)
        ]
        tables.append(build_tables(np.concatenate(parts).astype(np.float32), any_size=True))
    whole = HyperEntropy.freeze(model.prior, TableEntropy(tables))
    return whole if live.all() else LiveEntropy.of(whole, live)


def build_tables(symbols: npt.NDArray[np.float32], *, any_size: bool = False) -> EntropyTables:
    """Tables for symbols (N, C, h, w), whole numbers: one of each channel's own frequencies.

    A table reaches one symbol beyond what occurred at both ends, and every count gains a half
    (Krichevsky & Trofimov 1981), so that what comes later is seldom clipped. A channel that holds
    one symbol only costs nothing, and keeps to it. Raises TrainingError for symbols too far apart.
    """
    minimums, frequencies = [], []
    for index in range(symbols.shape[1]):
        minimum, counts = _count(symbols[:, index].ravel(), index)
        minimums.append(minimum)
        frequencies.append(frequencies_from_counts(2 * counts + 1))
    _, channels, *size = symbols.shape
    height, width = (1, 1) if any_size else size
    return EntropyTables(
        shape=(channels, height, width), minimums=minimums, frequencies=frequencies
    )


def _count(symbols: npt.NDArray[np.float32], index: int) -> tuple[int, npt.NDArray[np.int64]]:
    low, high = float(symbols.min()), float(symbols.max())
    if max(-low, high) > _MAX_TABLE_SYMBOL or high - low + 3 > MAX_TABLE_LENGTH:
        raise TrainingError(
            f"latent {index} takes values from {low:.0f} to {high:.0f}, too many for a table: "
            "use a larger --step-scale or fewer epochs"
        )
    margin = 1 if high > low else 0
    minimum = int(low) - margin
    length = int(high) + margin - minimum + 1
    counts = np.bincount(symbols.astype(np.int64) - minimum, minlength=length)
    return minimum, counts.astype(np.int64)


def _measure(codec: Codec, images: ImageSet, labels: Labels) -> list[Measured]:
    return [_measure_level(codec, images, labels, level) for level in range(len(codec.levels))]


def _measure_level(codec: Codec, images: ImageSet, labels: Labels, level: int) -> Measured:
    profile = Profile.EMBEDDED
    test = images.test[of_level(labels.test, level)]
    result = evaluate_codec(codec, test, profile=profile, level=level).result
    return Measured(
        dataset=f"{images.name} test",
        num_images=result.num_images,
        bytes_per_image=result.bytes_per_image,
        bits_per_pixel=result.bits_per_pixel,
        mse=result.mse,
        psnr_db=result.psnr_db if result.mse else None,
    )


def _details(
    state: TrainingState,
    settings: Settings,
    images: ImageSet,
    export: ExportSettings,
    machine: str,
) -> dict[str, str | int | float]:
    best = state.history[state.best_epoch - 1]
    return {
        **run_identity(settings, images),
        "step_scale": export.step_scale,
        "best_epoch": state.best_epoch,
        "train_loss": best["train_loss"],
        "val_loss": best["val_loss"],
        "val_mse": best["val_mse"],
        "torch": torch.__version__,
        "machine": machine,
    }
