"""``kompakt train --init FILE``: to start from a checkpoint."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images

from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.codec import Codec
from kompakt_codec.context_coder import ContextEntropy
from kompakt_codec.hyper_coder import HyperEntropy
from kompakt_codec.models import build_model
from kompakt_codec.models._masked import ChannelPrior
from kompakt_service.settings import DEFAULT_MODELS
from kompakt_training.errors import TrainingError
from kompakt_training.export import export_checkpoint
from kompakt_training.loop import open_trainer
from kompakt_training.settings import ExportSettings
from kompakt_training.starting import load_start, recorded_name
from kompakt_training.trainer import Trainer
from tests.training.helpers import FINE_STEP, TINY, digit_set, tiny_settings

CPU = torch.device("cpu")
PHOTOS = DEFAULT_MODELS / "photos.safetensors"


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

    entropy = checkpoint.entropy
    again = ContextEntropy.freeze(
        model.prior, max_symbols=entropy.max_symbols, dependent=entropy.quantiser.dependent
    )
    assert again.fingerprint == checkpoint.entropy.fingerprint


def test_a_hyperpriors_networks_are_what_its_integers_were_made_of(tmp_path):
    checkpoint, weights = trained("hyperprior", tmp_path / "tiny.safetensors")

    start = load_start(tmp_path / "tiny.safetensors")

    model = restored(checkpoint, start)
    again = HyperEntropy.freeze(model.prior, checkpoint.entropy.side)
    assert again.fingerprint == checkpoint.entropy.fingerprint
    name = "prior.h_s.1.conv.weight"
    torch.testing.assert_close(start.best_weights[name], weights[name], rtol=0, atol=2**-12)


def test_static_tables_become_mixtures_of_their_moments(tmp_path):
    checkpoint, _ = trained("factorized", tmp_path / "tiny.safetensors")
    model = restored(checkpoint, load_start(tmp_path / "tiny.safetensors"))
    assert_moments(model.prior, checkpoint.entropy)

    checkpoint = Checkpoint.load(PHOTOS)
    model = restored(checkpoint, load_start(PHOTOS))
    assert_moments(model.prior.side, checkpoint.entropy.inner.side)


def assert_moments(prior, tables):
    means, deviations = tables.moments()
    assert np.abs(means).max() > 0.01
    assert deviations.max() > 0.2
    np.testing.assert_array_equal(prior.means[..., 1].detach(), means)
    distances = (prior.means[..., 2] - prior.means[..., 1]).detach()
    np.testing.assert_allclose(distances, np.maximum(deviations, 0.1), rtol=1e-3)


@pytest.mark.parametrize("level", [9.0, 9.5, 10.875])
def test_a_prior_from_a_checkpoint_knows_what_streams_take(level):
    checkpoint = Checkpoint.load(PHOTOS)
    prior = restored(checkpoint, load_start(PHOTOS)).eval().prior
    photo = load_sample_images().images[1][100:228, 200:392]
    codec = Codec(checkpoint)
    symbols = codec.analyse(photo[None], [level])
    (payload,) = checkpoint.entropy.encode(symbols, [level])

    y_hat = torch.from_numpy(symbols).float()
    with torch.no_grad():
        (bits,) = prior.bits(y_hat, y_hat, torch.tensor([level]))

    assert float(bits) == pytest.approx(8 * len(payload), rel=0.03)


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


def test_a_header_of_other_sizes_is_refused(tmp_path):
    checkpoint, _ = trained("hyperprior", tmp_path / "tiny.safetensors")
    config = {**checkpoint.header.config, "units": 4}
    checkpoint.header = checkpoint.header.model_copy(update={"config": config})
    checkpoint.save(tmp_path / "odd.safetensors")
    with pytest.raises(TrainingError, match=r"^--init: .*odd\.safetensors: its prior is of other"):
        load_start(tmp_path / "odd.safetensors")


def test_the_command_names_a_checkpoint_by_its_file_and_a_run_by_its_folder(tmp_path):
    (tmp_path / "tiny.safetensors").write_bytes(b"")
    (tmp_path / "mine").mkdir()
    assert recorded_name(tmp_path / "tiny.safetensors") == "tiny.safetensors"
    assert recorded_name(tmp_path / "mine") == "runs/mine"
