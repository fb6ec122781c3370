import math
from dataclasses import replace

import pytest
import torch

from kompakt_codec.models import build_model
from kompakt_training.errors import TrainingError
from kompakt_training.loop import fit, open_trainer
from kompakt_training.losses import LOSSES
from kompakt_training.quantiser import quantised_mse, spread_levels
from kompakt_training.recipes import RECIPES
from kompakt_training.schedule import one_cycle
from kompakt_training.seeding import seeded
from kompakt_training.state import load_state
from kompakt_training.trainer import Trainer
from tests.training.helpers import digit_set, tiny_settings

CPU = torch.device("cpu")


def train(path, model, *, on_step=lambda _: None, resume=True, images=None, **settings):
    trainer = open_trainer(
        tiny_settings(model, **settings),
        images or digit_set(),
        path=path,
        resume=resume,
        device=CPU,
    )
    fit(trainer, path=path, on_step=on_step)
    return trainer.state


class KillAt:
    """A callback that dies in the given step."""

    def __init__(self, step):
        self.left = step

    def __call__(self, _):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module", params=LOSSES)
def whole(request, tmp_path_factory):
    """The end of a run of three epochs that nothing stopped."""
    return train(tmp_path_factory.mktemp("whole") / "state", request.param, epochs=3)


@pytest.mark.parametrize("step", [5, 25, 30, 74])  # there are 25 an epoch
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, whole, step):
    model = whole.settings["model"]
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", model, epochs=3, on_step=KillAt(step))
    resumed = train(tmp_path / "killed", model, epochs=3)

    for group in ("weights", "best_weights", "optimizer"):
        theirs, ours = getattr(whole, group), getattr(resumed, group)
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[key], ours[key]) for key in theirs)
    for theirs, ours in zip(whole.history, resumed.history, strict=True):
        assert {**theirs, "seconds": 0} == {**ours, "seconds": 0}


def test_the_seed_decides_the_weights_and_the_callers_generator_is_left_alone(tmp_path):
    torch.manual_seed(7)
    before = torch.get_rng_state()

    states = [train(tmp_path / str(i), "vae", epochs=1, seed=seed) for i, seed in enumerate([0, 1])]

    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(states[0].weights["mu.weight"], states[1].weights["mu.weight"])


@pytest.mark.parametrize("model", LOSSES)
def test_the_best_weights_are_those_of_the_least_validation_mse(tmp_path, model):
    images = digit_set()

    state = train(tmp_path / "state", model, epochs=4, images=images)

    score = "val_loss" if RECIPES[model].rate_distortion else "val_mse"
    scores = [row[score] for row in state.history]
    assert state.best_score == min(scores) == scores[state.best_epoch - 1]
    trainer = Trainer(tiny_settings(model), images, CPU)
    trainer.model.load_state_dict(state.best_weights)
    trainer.model.eval()
    pixels = torch.from_numpy(images.val).permute(0, 3, 1, 2)
    levels = torch.from_numpy(images.labels.val) + 1 if model == "cvae" else None
    assert quantised_mse(trainer.model, pixels, levels) == pytest.approx(
        state.history[state.best_epoch - 1]["val_mse"]
    )


@pytest.mark.parametrize("model", ["context", "factorized", "hyperprior"])
def test_images_validated_one_by_one_are_of_all_rate_levels(monkeypatch, model):
    trainer = Trainer(tiny_settings(model), digit_set(), CPU)

    together = trainer._validate()
    monkeypatch.setattr("kompakt_training.quantiser._PIXELS_PER_BATCH", 1)

    assert trainer._validate() == pytest.approx(together)


def test_few_images_are_of_levels_from_the_coarsest_to_the_finest():
    assert [spread_levels(count, 13).tolist() for count in (1, 3)] == [[6], [2, 6, 10]]
    assert spread_levels(13, 13).tolist() == list(range(13))
    assert spread_levels(5, 3).tolist() == [0, 1, 2, 0, 1]


def test_training_lowers_the_loss(tmp_path):
    history = train(tmp_path / "state", "ae", epochs=8).history

    assert history[-1]["val_mse"] < 0.7 * history[0]["val_mse"]
    assert history[-1]["train_loss"] < 0.7 * history[0]["train_loss"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 3}, "--epochs 2, not 3"),
        ({"seed": 1}, "--seed 0, not 1"),
        ({"images": digit_set(201)}, "a run with other images"),
    ],
)
def test_another_runs_state_is_refused_by_the_name_of_what_differs(tmp_path, change, words):
    train(tmp_path / "state", "ae")

    with pytest.raises(TrainingError, match=words):
        train(tmp_path / "state", "ae", **change)


def test_another_runs_classes_are_refused_as_such(tmp_path):
    images = digit_set()
    train(tmp_path / "state", "cvae", epochs=1, images=images)
    renamed = replace(images, labels=replace(images.labels, names=("0", "1", "two")))

    with pytest.raises(TrainingError, match=f"{tmp_path.name} holds a run with other labels: give"):
        train(tmp_path / "state", "cvae", epochs=1, images=renamed)


def test_another_model_is_refused_but_may_start_again(tmp_path):
    train(tmp_path / "state", "ae")

    with pytest.raises(TrainingError, match="--model ae, not vae"):
        train(tmp_path / "state", "vae")
    state = train(tmp_path / "state", "vae", resume=False)

    assert state.settings["model"] == "vae"


@pytest.mark.parametrize("cut", [0, 8, 100, -1])
def test_a_damaged_state_is_one_clear_error(tmp_path, cut):
    path = tmp_path / "state"
    train(path, "ae", epochs=1)
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(TrainingError, match="is not a training state"):
        load_state(path)


def test_fewer_images_than_a_batch_are_one_batch(tmp_path):
    state = train(tmp_path / "state", "ae", epochs=1, images=digit_set(5))

    assert math.isfinite(state.history[0]["train_loss"])


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    trainer = Trainer(tiny_settings("ae"), digit_set(), CPU)
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(math.nan)

    with pytest.raises(TrainingError, match="no longer a number in epoch 1: lower --learning-rate"):
        fit(trainer, path=tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_a_validation_loss_that_is_no_number_stops_the_run(tmp_path, monkeypatch):
    trainer = Trainer(tiny_settings("vae"), digit_set(), CPU)
    monkeypatch.setattr(trainer, "_validate", lambda: (math.inf, 0.1))

    with pytest.raises(TrainingError, match="no longer a number in epoch 1: lower --learning-rate"):
        fit(trainer, path=tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_the_learning_rate_rises_for_a_tenth_and_falls_to_nothing():
    rates = [one_cycle(step, 1000, 2e-3) for step in range(1000)]

    assert rates[0] == pytest.approx(2e-3 / 25)
    assert rates[100] == max(rates) == 2e-3
    assert rates[:101] == sorted(rates[:101])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert 0 < rates[-1] < 1e-7


def test_one_step_is_a_whole_cycle():
    assert 0 < one_cycle(0, 1, 1.0) < 1


def test_a_short_training_exports_what_it_learned(tmp_path):
    trained = train(tmp_path / "run", "context", epochs=2)

    def distance(weights):
        return math.sqrt(
            sum((weights[key] - value).square().sum().item() for key, value in initial.items())
        )

    with seeded(trained.settings["seed"], 0, CPU):
        settings = tiny_settings("context", epochs=2)
        initial = build_model("context", digit_set().spec, settings.config).state_dict()
    assert distance(trained.best_weights) > 0.8 * distance(trained.weights) > 0
