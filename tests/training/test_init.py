"""``kompakt train --init``: to start from the weights of another run."""

import pytest
import torch

from kompakt_codec.checkpoint import Checkpoint
from kompakt_training.commands.train import main
from kompakt_training.errors import TrainingError
from kompakt_training.loop import fit, open_trainer
from kompakt_training.settings import Settings
from kompakt_training.state import load_state, weights_hash
from kompakt_training.trainer import Trainer
from tests.training.helpers import (
    FAST,
    TINY,
    digit_set,
    digits,
    interrupted_after_an_epoch,
    write_pngs,
)

CPU = torch.device("cpu")


def settings_of(model, **config):
    return Settings.from_recipe(model, config={**TINY[model], **config}, epochs=1, **FAST)


def train(path, settings):
    trainer = open_trainer(settings, digit_set(40), path=path, resume=True, device=CPU)
    fit(trainer, path=path)
    return load_state(path)


def start(tmp_path, settings, init):
    path = tmp_path / "new"
    return open_trainer(settings, digit_set(40), path=path, resume=True, device=CPU, init=init)


def same(ours, theirs, prefix=""):
    names = [name for name in ours if name.startswith(prefix)]
    return bool(names) and all(torch.equal(ours[name], theirs[name]) for name in names)


@pytest.mark.parametrize("model", ["ae", "vae", "context", "hyperprior"])
def test_all_weights_are_taken_over(tmp_path, model):
    init = train(tmp_path / "state", settings_of(model))

    trainer = start(tmp_path, settings_of(model), init)

    assert same(trainer.model.state_dict(), init.best_weights)
    assert trainer.state.epoch == 0
    trainer.run_epoch()
    assert not same(trainer.model.state_dict(), init.best_weights)


def test_what_the_other_run_lacks_stays_fresh(tmp_path):
    init = train(tmp_path / "state", settings_of("factorized", latents=8))
    settings = settings_of("hyperprior")

    weights = start(tmp_path, settings, init).model.state_dict()

    fresh = Trainer(settings, digit_set(40), CPU).model.state_dict()
    for part in ("g_a.", "g_s.", "gain."):
        assert same(weights, init.best_weights, part)
    assert same(weights, fresh, "prior.")
    assert not same(weights, fresh, "g_a.")


@pytest.mark.parametrize("model", ["factorized", "hyperprior", "context"])
def test_a_deeper_model_starts_as_what_the_shallower_one_had_learned(tmp_path, model):
    init = train(tmp_path / "state", settings_of(model, blocks=1))
    shallow = start(tmp_path, settings_of(model, blocks=1), init).model.eval()

    deep = start(tmp_path, settings_of(model, blocks=3), init).model.eval()

    assert len(deep.state_dict()) > len(shallow.state_dict())
    x = torch.rand(2, 1, 8, 8)
    level = torch.tensor([0, 2])
    for ours, theirs in zip(deep(x, level), shallow(x, level), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "settings",
    [settings_of("hyperprior", latents=9), settings_of("hyperprior", width=6), settings_of("ae")],
)
def test_a_run_of_another_model_or_size_is_refused(tmp_path, settings):
    init = train(tmp_path / "state", settings_of("hyperprior"))

    with pytest.raises(TrainingError, match=r"^--init: that run is of another model or size$"):
        start(tmp_path, settings, init)


def test_the_hash_is_of_the_best_weights(tmp_path):
    state = train(tmp_path / "state", settings_of("ae"))
    before = weights_hash(state)
    assert len(before) == 64
    assert weights_hash(load_state(tmp_path / "state")) == before
    name = next(iter(state.best_weights))
    state.best_weights[name] = state.best_weights[name] + 1
    assert weights_hash(state) != before


def run(*flags):
    tiny = [word for key, value in TINY["ae"].items() for word in (f"--{key}", str(value))]
    fast = ["--epochs", "2", "--batch-size", "8", "--learning-rate", "0.03"]
    return main(["--model", "ae", "--dataset", "folder:mine", *tiny, *fast, *flags])


def test_a_run_that_started_from_another_is_recorded_and_resumes(tmp_path, capsys, monkeypatch):
    write_pngs(tmp_path / "mine", digits(60))
    monkeypatch.setattr("kompakt_training.run.write_html_report", lambda *_, **__: None)
    assert run("--out", "first") == 0
    assert run("--out", "whole", "--init", "first/") == 0
    with interrupted_after_an_epoch():
        assert run("--out", "second", "--init", "first") == 130
    capsys.readouterr()
    assert run("--out", "second") == 1
    assert "second holds a run with another --init: give the same settings" in (
        capsys.readouterr().err
    )

    assert run("--out", "second", "--init", "first") == 0

    assert "going on after epoch 1 of 2" in capsys.readouterr().out
    first, whole, second = (
        tmp_path / name / "mine-ae.safetensors" for name in ("first", "whole", "second")
    )
    assert second.read_bytes() == whole.read_bytes() != first.read_bytes()
    training = Checkpoint.load(second).header.training
    assert training.command.endswith(" --learning-rate 0.03 --init runs/first")
    state = load_state(tmp_path / "first/training.state")
    assert training.details["init"] == weights_hash(state)
    assert run("--out", "second", "--init", "first") == 0
    assert "is finished" in capsys.readouterr().out
    assert run("--out", "third", "--init", str(first)) == 0
    training = Checkpoint.load(tmp_path / "third/mine-ae.safetensors").header.training
    assert training.command.endswith(" --init mine-ae.safetensors")
    assert run("--out", "first", "--init", "second") == 1
    assert "first holds a run with another --init" in capsys.readouterr().err


def test_a_missing_folder_or_a_damaged_state_is_one_line(tmp_path, capsys):
    write_pngs(tmp_path / "mine", digits(40))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/training.state").write_bytes(b"no state")

    assert run("--init", "nowhere") == 1
    assert capsys.readouterr().err == (
        "kompakt train: --init: nowhere: no such run or checkpoint\n"
    )
    assert run("--init", "bad") == 1
    err = capsys.readouterr().err
    assert "bad/training.state is not a training state" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()
