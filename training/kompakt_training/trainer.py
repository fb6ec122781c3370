"""A model in training: Adam on a one-cycle schedule, validated on what rounding leaves."""

import math
import time
from collections.abc import Mapping
from typing import cast

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kompakt_codec.metrics import psnr_db
from kompakt_codec.models import TransformModel, build_model
from kompakt_codec.precision import reduced_precision
from kompakt_training.errors import TrainingError
from kompakt_training.growth import deepened
from kompakt_training.imageset import Images, ImageSet, LabelNumbers
from kompakt_training.losses import CONDITIONAL, LOSSES, Loss
from kompakt_training.processes import Processes
from kompakt_training.quantiser import (
    fit_step,
    quantised_mse,
    spread_levels,
    to_unit,
    unit_batches,
)
from kompakt_training.recipes import RECIPES
from kompakt_training.requirements import batch_size_of, require_labels, run_identity
from kompakt_training.schedule import one_cycle
from kompakt_training.seeding import number_of, seeded
from kompakt_training.settings import Settings
from kompakt_training.state import HistoryRow, TrainingState, hash_tensors
from kompakt_training.steps import LossMeans, OnStep, Step, ignore
from kompakt_training.tiles import crops

_BETAS = (0.9, 0.99)
_AVERAGE_DECAY = 0.999
_MAX_GRADIENT_NORM = 5.0


class Trainer:
    """A model in training. Between epochs, ``state`` is all there is to know of it.

    Several processes each hold one and make the same steps, each on its part of every batch: their
    weights stay the same to the bit. Raises TrainingError for images that do not fit the settings.
    """

    def __init__(
        self,
        settings: Settings,
        images: ImageSet,
        device: torch.device,
        processes: Processes | None = None,
    ) -> None:
        self.settings = settings
        self.device = device
        self.processes = processes or Processes()
        require_labels(settings, images)
        self.batch_size = batch_size_of(settings, images, self.processes)
        self.state = TrainingState(settings=run_identity(settings, images))
        self._labels = _label_tensor(images.labels.train, device)
        self._train = _on_device(images.train, device)
        self._val = _on_device(images.val, device)
        self._val_labels = _label_tensor(images.labels.val, device)
        self._tile = (images.spec.height, images.spec.width)
        self.steps_per_epoch = images.num_train_tiles // self.batch_size
        with seeded(settings.seed, 0, device):
            model = build_model(settings.model, images.spec, settings.config)
        self._precision = reduced_precision(device, enabled=RECIPES[settings.model].rate_distortion)
        self._average: AveragedModel | None = None
        self.model = model.to(device)
        if RECIPES[settings.model].rate_distortion:
            self.model = self.model.to(memory_format=torch.channels_last)
            self._average = _RunningAverage(self.model)
            self._val_labels = spread_levels(len(self._val), model.levels).to(device)
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

    def require_same_start(self) -> None:
        """Raise TrainingError unless all processes have the same images and weights."""
        weights = hash_tensors(self.model.state_dict())
        facts = f"{self.state.settings} {self.state.epoch} {weights}"
        self.processes.require_same(facts, self.device)

    def run_epoch(self, on_step: OnStep = ignore) -> HistoryRow:
        """Train one epoch, validate, and bring ``state`` up to date.

        Raises TrainingError if the loss is no longer a number.
        """
        started = time.monotonic()
        epoch = self.state.epoch + 1
        with seeded(self.settings.seed, epoch, self.device):
            train_loss = self._fit(on_step)
            val_loss, val_mse = self._validated()
        if not all(map(math.isfinite, (train_loss["loss"], val_loss, val_mse))):
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
        started = time.perf_counter()
        order = self._order().to(self.device)
        if self.processes.rank:
            own = number_of(self.settings.seed, self.state.epoch + 1, self.processes.rank)
            torch.manual_seed(own)
        first_step = self.state.epoch * self.steps_per_epoch
        num_steps = self.settings.epochs * self.steps_per_epoch
        means = LossMeans()
        for index in range(self.steps_per_epoch):
            rate = one_cycle(first_step + index, num_steps, self.settings.learning_rate)
            self._optimizer.param_groups[0]["lr"] = rate
            batch = order[index * self.batch_size : (index + 1) * self.batch_size]
            progress = (first_step + index) / num_steps
            loss = self._descend(self.processes.share(batch), progress)
            means.add(loss)
            on_step(
                Step(
                    epoch=self.state.epoch + 1,
                    index=index,
                    is_last=index == self.steps_per_epoch - 1,
                    started=started,
                    learning_rate=rate,
                    loss=loss,
                )
            )
        self.processes.average(means.sums)
        return means.values()

    def _descend(self, indices: torch.Tensor, progress: float) -> Loss:
        """One step on these images; the loss before it, detached."""
        labels = None if self._labels is None else self._labels[indices]
        with self._precision:
            batch = to_unit(self._drawn(self._train[indices].contiguous()))
            loss = LOSSES[self.settings.model](self.model, batch, progress, labels)
        self._optimizer.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        self.processes.average([*gradients, *self._statistics()])
        if self._average is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), _MAX_GRADIENT_NORM)
        self._optimizer.step()
        if self._average is not None:
            self._average.update_parameters(self.model)
        parts = {name: value.detach() for name, value in loss.parts.items()}
        return Loss(total=loss.total.detach(), parts=parts)

    def _statistics(self) -> list[torch.Tensor]:
        """What the model gathers beside its weights, as batch normalisation does."""
        return [buffer for buffer in self.model.buffers() if buffer.is_floating_point()]

    def _order(self) -> torch.Tensor:
        """Which images an epoch sees, each as often as it holds tiles."""
        tiles = self.steps_per_epoch * self.batch_size
        rounds = -(-tiles // len(self._train))
        return torch.cat([torch.randperm(len(self._train)) for _ in range(rounds)])

    def _drawn(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[2:] == self._tile and not self.settings.mirror:
            return images
        return crops(images, self._tile, mirror=self.settings.mirror)

    def _validated(self) -> tuple[float, float]:
        """Loss and MSE of the validation images, measured by the first process for all."""
        figures = torch.zeros(2, dtype=torch.float64, device=self.device)
        if self.processes.is_first:
            figures.copy_(torch.tensor(self._validate(), dtype=torch.float64))
        self.processes.spread([figures, *self._statistics()])
        val_loss, val_mse = figures.tolist()
        return val_loss, val_mse

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        model = self._averaged().eval()
        total, start = 0.0, 0
        for x in unit_batches(self._val):
            labels = self._val_labels
            labels = None if labels is None else labels[start : start + len(x)]
            start += len(x)
            total += LOSSES[self.settings.model](model, x, 1.0, labels).total.item() * len(x)
        fit_step(model, self._val)
        levels = None
        if self.settings.model in CONDITIONAL and self._val_labels is not None:
            levels = self._val_labels + 1
        return total / len(self._val), quantised_mse(model, self._val, levels)

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


class _RunningAverage(AveragedModel):
    """An exponential one that forgets fast at first: its start is far from any trained weights."""

    def update_parameters(self, model: torch.nn.Module) -> None:
        """Take in the weights after another step."""
        taken = int(self.n_averaged)  # lies on the CPU: reading it waits for no GPU
        decay = min(_AVERAGE_DECAY, (1 + taken) / (10 + taken))
        self.multi_avg_fn = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        super().update_parameters(model)


def _on_device(images: Images, device: torch.device) -> torch.Tensor:
    """(N, channels, height, width), on the CPU without a copy."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2)


def _label_tensor(labels: LabelNumbers | None, device: torch.device) -> torch.Tensor | None:
    return None if labels is None else torch.from_numpy(labels).to(device)
