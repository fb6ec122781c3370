"""The training loop: Adam on a one-cycle schedule, validated on what rounding leaves."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kompakt_codec.metrics import psnr_db
from kompakt_codec.models import TransformModel, build_model
from kompakt_codec.precision import reduced_precision
from kompakt_training.errors import TrainingError
from kompakt_training.growth import deepened
from kompakt_training.imageset import Images, ImageSet, LabelNumbers
from kompakt_training.losses import CONDITIONAL, LOSSES, Loss
from kompakt_training.quantiser import fit_step, rounded_mse, to_unit, unit_batches
from kompakt_training.recipes import RECIPES
from kompakt_training.settings import Settings, flag
from kompakt_training.state import HistoryRow, TrainingState, load_state, save_state
from kompakt_training.tiles import crops

_BETAS = (0.9, 0.99)
_WARM_UP = 0.1
_START_FRACTION = 1 / 25
_AVERAGE_DECAY = 0.999
_MAX_GRADIENT_NORM = 5.0

OnStep = Callable[[torch.Tensor], None]


def _ignore(_: object) -> None:
    pass


def one_cycle(step: int, num_steps: int, peak: float) -> float:
    """Learning rate of ``step``: up to ``peak`` over the first tenth, then down to 0.

    Both ways along a cosine (Smith & Topin 2019, "Super-Convergence"), from peak / 25 on.
    """
    warm_up = max(1, round(_WARM_UP * num_steps))
    if step < warm_up:
        rise = (1 - math.cos(math.pi * step / warm_up)) / 2
        return peak * (_START_FRACTION + (1 - _START_FRACTION) * rise)
    return peak * (1 + math.cos(math.pi * (step - warm_up) / (num_steps - warm_up + 1))) / 2


class Trainer:
    """A model in training. Between epochs, ``state`` is all there is to know of it."""

    def __init__(self, settings: Settings, images: ImageSet, device: torch.device) -> None:
        self.settings = settings
        self.device = device
        self.state = TrainingState(settings=run_identity(settings, images))
        if settings.model in CONDITIONAL:
            require_labels(images, settings.config["classes"])
        self._labels = [
            _label_tensor(part, device) for part in (images.labels.train, images.labels.val)
        ]
        self._train = _on_device(images.train, device)
        self._val = _on_device(images.val, device)
        self._tile = (images.spec.height, images.spec.width)
        self._batch_size = min(settings.batch_size, len(self._train))
        self.steps_per_epoch = len(images.train_tiles) // self._batch_size
        with _seeded(settings.seed, 0, device):
            model = build_model(settings.model, images.spec, settings.config)
        self._precision = reduced_precision(device, enabled=RECIPES[settings.model].rate_distortion)
        self._average: AveragedModel | None = None
        self.model = model.to(device)
        if RECIPES[settings.model].rate_distortion:
            self.model = self.model.to(memory_format=torch.channels_last)
            average = get_ema_multi_avg_fn(_AVERAGE_DECAY)  # type: ignore[no-untyped-call]
            self._average = AveragedModel(self.model, multi_avg_fn=average)
        self._optimizer = torch.optim.Adam(self.model.parameters(), betas=_BETAS)

    def resume(self, state: TrainingState) -> None:
        """Go on from a state with the same settings. Raises TrainingError if it does not fit."""
        try:
            self.model.load_state_dict(state.weights)
            moments: dict[int, dict[str, torch.Tensor]] = {}
            for key, tensor in state.optimizer.items():
                index, name = key.split(".", 1)
                moments.setdefault(int(index), {})[name] = tensor
            groups = self._optimizer.state_dict()["param_groups"]
            self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
            if self._average is not None:
                self._average.load_state_dict(state.average)
        except (RuntimeError, ValueError) as exc:
            raise TrainingError(f"the training state is damaged: {exc}") from exc
        self.state = state

    def start_from(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take over another run's weights, also those of a shallower model.

        Layers that it lacks keep their fresh ones.
        Raises TrainingError if a layer has another size, or nothing is common.
        """
        own = self.model.state_dict()
        weights = deepened(weights, own)
        known = {name: weight for name, weight in weights.items() if name in own}
        if not known or any(own[name].shape != weight.shape for name, weight in known.items()):
            raise TrainingError("--init: that run is of another model or size")
        self.model.load_state_dict(known, strict=False)
        if self._average is not None:
            self._average.module.load_state_dict(self.model.state_dict())

    def run_epoch(self, on_step: OnStep = _ignore) -> HistoryRow:
        """Train one epoch, validate, and bring ``state`` up to date.

        Raises TrainingError if the loss is no longer a number.
        """
        started = time.monotonic()
        epoch = self.state.epoch + 1
        with _seeded(self.settings.seed, epoch, self.device):
            train_loss = self._fit(on_step)
            val_loss, val_mse = self._validate()
        if not math.isfinite(train_loss["loss"]) or not math.isfinite(val_mse):
            raise TrainingError(
                f"the loss is no longer a number in epoch {epoch}: lower --learning-rate"
            )
        row: HistoryRow = {
            "epoch": epoch,
            **{f"train_{name}": value for name, value in train_loss.items()},
            "val_loss": val_loss,
            "val_mse": val_mse,
            "val_psnr_db": psnr_db(val_mse),
            "learning_rate": self._optimizer.param_groups[0]["lr"],
            "seconds": round(time.monotonic() - started, 3),
        }
        self._advance(row)
        return row

    def _fit(self, on_step: OnStep) -> dict[str, float]:
        self.model.train()
        order = self._order().to(self.device)
        first_step = self.state.epoch * self.steps_per_epoch
        num_steps = self.settings.epochs * self.steps_per_epoch
        sums: dict[str, torch.Tensor] = {}
        for step in range(self.steps_per_epoch):
            rate = one_cycle(first_step + step, num_steps, self.settings.learning_rate)
            self._optimizer.param_groups[0]["lr"] = rate
            indices = order[step * self._batch_size : (step + 1) * self._batch_size]
            progress = (first_step + step) / num_steps
            labels = None if self._labels[0] is None else self._labels[0][indices]
            with self._precision:
                batch = to_unit(self._drawn(self._train[indices]))
                loss = LOSSES[self.settings.model](self.model, batch, progress, labels)
            self._optimizer.zero_grad()
            loss.total.backward()  # type: ignore[no-untyped-call]
            if self._average is not None:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), _MAX_GRADIENT_NORM)
            self._optimizer.step()
            if self._average is not None:
                self._average.update_parameters(self.model)
            _accumulate(sums, loss)
            on_step(loss.total.detach())
        return {name: total.item() / self.steps_per_epoch for name, total in sums.items()}

    def _order(self) -> torch.Tensor:
        """Which images an epoch sees, each as often as it holds tiles."""
        tiles = self.steps_per_epoch * self._batch_size
        rounds = -(-tiles // len(self._train))
        return torch.cat([torch.randperm(len(self._train)) for _ in range(rounds)])

    def _drawn(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[2:] == self._tile and not self.settings.mirror:
            return images
        return crops(images, self._tile, mirror=self.settings.mirror)

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        model = self._averaged().eval()
        total, start = 0.0, 0
        for x in unit_batches(self._val):
            labels = None if self._labels[1] is None else self._labels[1][start : start + len(x)]
            start += len(x)
            total += LOSSES[self.settings.model](model, x, 1.0, labels).total.item() * len(x)
        fit_step(model, self._val)
        levels = None
        if self.settings.model in CONDITIONAL and self._labels[1] is not None:
            levels = self._labels[1] + 1
        return total / len(self._val), rounded_mse(model, self._val, levels)

    def _averaged(self) -> TransformModel:
        """The model that validation and the checkpoint are of."""
        return self.model if self._average is None else cast(TransformModel, self._average.module)

    def _advance(self, row: HistoryRow) -> None:
        state = self.state
        state.epoch += 1
        state.history.append(row)
        state.weights = self.model.state_dict()
        state.optimizer = {
            f"{index}.{name}": value
            for index, moments in self._optimizer.state_dict()["state"].items()
            for name, value in moments.items()
        }
        score = row["val_mse"]
        if self._average is not None:
            state.average = self._average.state_dict()
            score = row["val_loss"]
        if score < state.best_score:
            state.best_score, state.best_epoch = score, state.epoch
            best = self._averaged().state_dict()
            state.best_weights = {k: v.detach().clone() for k, v in best.items()}


def open_trainer(
    settings: Settings,
    images: ImageSet,
    *,
    path: Path,
    resume: bool,
    device: torch.device,
    init: TrainingState | None = None,
) -> Trainer:
    """A trainer at the start, with ``init``'s best weights, or where the state in ``path`` stands.

    Raises TrainingError if that run has other settings or images, or the file is damaged.
    """
    trainer = Trainer(settings, images, device)
    if resume and path.exists():
        state = load_state(path)
        _refuse_other_run(path, theirs=state.settings, ours=trainer.state.settings)
        trainer.resume(state)
    elif init is not None:
        trainer.start_from(init.best_weights)
    return trainer


def fit(
    trainer: Trainer,
    *,
    path: Path,
    on_step: OnStep = _ignore,
    on_epoch: Callable[[TrainingState], None] = _ignore,
) -> None:
    """Train the epochs that are left, saving the state in ``path`` after each of them."""
    while trainer.state.epoch < trainer.settings.epochs:
        trainer.run_epoch(on_step)
        save_state(path, trainer.state)
        on_epoch(trainer.state)


def run_identity(settings: Settings, images: ImageSet) -> dict[str, str | int | float]:
    """All that must be the same for one run to go on with another's state."""
    identity = {**settings.flat(), "images_sha256": images.sha256}
    if settings.model in CONDITIONAL:
        identity["labels_sha256"] = images.labels.sha256
    return identity


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
        if key == "images_sha256":
            what = "other images"
        if key in ("init", "mirror"):
            what = f"another {flag(key)}"
        raise TrainingError(
            f"{path.parent} holds a run with {what}: give the same settings or another --out, "
            "or start again (train --no-resume, report --retrain)"
        )


def _on_device(images: Images, device: torch.device) -> torch.Tensor:
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return torch.from_numpy(channels_first).to(device)


def require_labels(images: ImageSet, classes: int) -> None:
    """Raise TrainingError unless the images have labels of so many classes."""
    labels = images.labels
    if not labels.names:
        raise TrainingError(
            f"{images.name} has no labels: a folder needs one subfolder for each class, a "
            "published set the files of its labels beside those of its images"
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


def _label_tensor(labels: LabelNumbers | None, device: torch.device) -> torch.Tensor | None:
    return None if labels is None else torch.from_numpy(labels).to(device)


def _accumulate(sums: dict[str, torch.Tensor], loss: Loss) -> None:
    for name, value in {"loss": loss.total, **loss.parts}.items():
        sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach()


@contextlib.contextmanager
def _seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Random numbers of one epoch's own; the caller's generators stay as they were."""
    number = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(number))
        yield
