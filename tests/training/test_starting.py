"""``kompakt train --init FILE``: to start from a checkpoint."""

import math

import numpy as np
import pytest
import torch

from kompakt_codec.context_coder import ContextEntropy
from kompakt_codec.hyper_coder import HyperEntropy
from kompakt_codec.models import build_model
from kompakt_codec.models._masked import ChannelPrior
from kompakt_training.errors import TrainingError
from kompakt_training.export import export_checkpoint
from kompakt_training.loop import open_trainer
from kompakt_training.settings import ExportSettings
from kompakt_training.starting import load_start, recorded_name
from kompakt_training.trainer import Trainer
from tests.training.helpers import FINE_STEP, TINY, digit_set, tiny_settings

CPU = torch.device("cpu")


def trained(model, path):
    """The checkpoint of a short training, saved, and its best weights."""
    settings, images = tiny_settings(model), digit_set()
    trainer = Trainer(settings, images, CPU)
    trainer.run_epoch()
    export = ExportSettings(name="tiny", step_scale=FINE_STEP)
    checkpoint = export_checkpoint(
        trainer.state, settings, images, export, command="kompakt train", machine="here"
    )
    checkpoint.save(path)
    return checkpoint, trainer.state.best_weights


def restored(checkpoint, start):
    model = build_model(
        checkpoint.header.architecture, checkpoint.header.spec, checkpoint.header.config
    )
    model.load_state_dict(start.best_weights)
    return model


@pytest.mark.parametrize("model", TINY)
def test_a_training_starts_from_a_checkpoints_transforms(tmp_path, model):
    path = tmp_path / "tiny.safetensors"
    _, weights = trained(model, path)

    start = load_start(path)

    assert start.best_weights.keys() == weights.keys()
    trainer = open_trainer(
        tiny_settings(model),
        digit_set(),
        path=tmp_path / "new",
        resume=True,
        device=CPU,
        init=start,
    )
    names = [n for n, _ in trainer.model.named_parameters() if not n.startswith("prior.")]
    before = trainer.model.state_dict()
    for name in names:
        assert torch.equal(before[name], start.best_weights[name])
        # A checkpoint's are halved where the recipe says so.
        torch.testing.assert_close(before[name], weights[name], rtol=1e-3, atol=1e-4)
    assert len(names) > 3
    trainer.run_epoch()
    after = trainer.model.state_dict()
    assert not any(torch.equal(after[n], start.best_weights[n]) for n in names[:3])


def test_a_context_models_prior_is_what_its_integers_were_made_of(tmp_path):
    checkpoint, _ = trained("context", tmp_path / "tiny.safetensors")

    model = restored(checkpoint, load_start(tmp_path / "tiny.safetensors"))

    again = ContextEntropy.freeze(model.prior, max_symbols=checkpoint.entropy.max_symbols)
    assert again.fingerprint == checkpoint.entropy.fingerprint


def test_a_hyperpriors_networks_are_what_its_integers_were_made_of(tmp_path):
    checkpoint, weights = trained("hyperprior", tmp_path / "tiny.safetensors")

    start = load_start(tmp_path / "tiny.safetensors")

    model = restored(checkpoint, start)
    again = HyperEntropy.freeze(model.prior, checkpoint.entropy.side)
    assert again.fingerprint == checkpoint.entropy.fingerprint
    name = "prior.h_s.1.conv.weight"
    torch.testing.assert_close(start.best_weights[name], weights[name], rtol=0, atol=2**-12)


@pytest.mark.parametrize("model", ["factorized", "hyperprior"])
def test_static_tables_leave_the_middles_of_their_mixtures(tmp_path, model):
    checkpoint, _ = trained(model, tmp_path / "tiny.safetensors")

    prior = restored(checkpoint, load_start(tmp_path / "tiny.safetensors")).prior

    entropy = checkpoint.entropy
    tables, mixtures = (entropy, prior) if model == "factorized" else (entropy.side, prior.side)
    means, deviations = tables.moments()
    assert deviations.max() > 0 or model == "hyperprior"
    np.testing.assert_array_equal(mixtures.means[..., 1].detach(), means)


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 2.0), (-3.4, 20.0), (7.0, 0.5)])
def test_a_mixture_of_moments_has_them(mean, deviation):
    prior = ChannelPrior(1, 2)

    prior.take_moments(torch.full((2, 1), mean), torch.full((2, 1), deviation))

    reach = math.ceil(12 * deviation)  # where no probability is at its floor
    symbols = (round(mean) + torch.arange(-reach, reach + 1.0))[:, None, None, None]
    level = torch.ones(len(symbols), dtype=torch.int64)
    mass = (2 ** -prior.bits(symbols, symbols, level).double()).detach().numpy()
    symbols = symbols.flatten().numpy()
    assert mass.sum() == pytest.approx(1, abs=1e-3)
    assert (mass * symbols).sum() == pytest.approx(mean, abs=0.05)
    variance = (mass * (symbols - mean) ** 2).sum()
    assert variance == pytest.approx(deviation**2 + 1 / 12, rel=0.02)  # rounding adds a twelfth


def test_what_is_no_checkpoint_or_of_another_model_is_refused(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match=r"^--init: .*bad\.safetensors: not a checkpoint"):
        load_start(tmp_path / "bad.safetensors")

    trained("ae", tmp_path / "ae.safetensors")
    start = load_start(tmp_path / "ae.safetensors")
    settings, path = tiny_settings("context"), tmp_path / "new"
    with pytest.raises(TrainingError, match=r"^--init: that run is of another model or size$"):
        open_trainer(settings, digit_set(), path=path, resume=True, device=CPU, init=start)


def test_the_command_names_a_checkpoint_by_its_file_and_a_run_by_its_folder(tmp_path):
    (tmp_path / "tiny.safetensors").write_bytes(b"")
    (tmp_path / "mine").mkdir()
    assert recorded_name(tmp_path / "tiny.safetensors") == "tiny.safetensors"
    assert recorded_name(tmp_path / "mine") == "runs/mine"
