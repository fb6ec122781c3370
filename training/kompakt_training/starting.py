"""Weights to start a training from: another run's, or a checkpoint's."""

from pathlib import Path

import torch

from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.context_coder import ContextEntropy
from kompakt_codec.errors import CheckpointError
from kompakt_codec.hyper_coder import HyperEntropy
from kompakt_codec.live_channels import LiveEntropy
from kompakt_codec.models import (
    ContextModel,
    FactorizedModel,
    HyperpriorModel,
    TransformModel,
    build_model,
)
from kompakt_codec.table_coder import TableEntropy
from kompakt_training.errors import TrainingError
from kompakt_training.state import STATE_FILE, TrainingState, load_state


def load_start(path: Path) -> TrainingState:
    """The best weights of a run's folder, or those of a checkpoint's file. Raises TrainingError.

    A checkpoint holds its probabilities in integers. The prior gets back what they were made of; of
    static tables only mean and deviation, which training soon mends.
    """
    if path.is_dir():
        try:
            return load_state(path / STATE_FILE)
        except TrainingError as exc:
            raise TrainingError(f"--init: {exc}") from exc
    if not path.exists():
        raise TrainingError(f"--init: {path}: no such run or checkpoint")
    try:
        model = _whole_model(Checkpoint.load(path))
    except CheckpointError as exc:
        raise TrainingError(f"--init: {exc}") from exc
    except (RuntimeError, ValueError) as exc:  # a header that fits the tensors in part
        raise TrainingError(f"--init: {path}: its prior is of other sizes: {exc}") from exc
    return TrainingState(settings={}, best_weights=model.state_dict())


def recorded_name(path: Path) -> str:
    """The path of a run or a checkpoint without what is this machine's own."""
    name = path.resolve().name
    return name if path.is_file() else f"runs/{name}"


def _whole_model(checkpoint: Checkpoint) -> TransformModel:
    """The model with the prior that no checkpoint holds."""
    header, entropy = checkpoint.header, checkpoint.entropy
    model = build_model(header.architecture, header.spec, header.config)
    model.load_state_dict(checkpoint.model.state_dict(), strict=False)
    if isinstance(model, ContextModel) and isinstance(entropy, ContextEntropy):
        model.prior.load_state_dict(entropy.prior().state_dict())
    elif isinstance(model, HyperpriorModel) and isinstance(entropy, HyperEntropy | LiveEntropy):
        entropy.restore(model.prior)
    elif isinstance(model, FactorizedModel) and isinstance(entropy, TableEntropy):
        model.prior.take_moments(*map(torch.from_numpy, entropy.moments()))
    return model
