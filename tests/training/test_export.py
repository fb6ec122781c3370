import numpy as np
import pytest
import torch

from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_codec.live_channels import LiveEntropy
from kompakt_codec.metrics import mse, psnr_db
from kompakt_codec.models import ImageSpec, build_model
from kompakt_training.errors import TrainingError
from kompakt_training.export import build_tables, export_checkpoint, freeze
from kompakt_training.losses import LOSSES
from kompakt_training.quantiser import symbols_of
from kompakt_training.settings import ExportSettings
from kompakt_training.trainer import Trainer
from tests.training.helpers import FINE_STEP, TINY, digit_set, digits, tiny_settings

EXPORT = ExportSettings(name="digits", step_scale=FINE_STEP)


def trained(model, images):
    settings = tiny_settings(model)
    trainer = Trainer(settings, images, torch.device("cpu"))
    trainer.run_epoch()
    trainer.run_epoch()
    return trainer.state, settings


def export(model, images, **changes):
    state, settings = trained(model, images)
    words = {"command": "kompakt train …", "machine": "x86_64", **changes}
    return export_checkpoint(state, settings, images, EXPORT, **words)


@pytest.mark.parametrize("model", LOSSES)
def test_a_checkpoint_loads_and_measures_what_it_says(tmp_path, model):
    images = digit_set()
    export(model, images).save(tmp_path / "digits.safetensors")

    codec = Codec.load(tmp_path / "digits.safetensors")
    frames = codec.compress(list(images.test), profile=Profile.EMBEDDED)
    decoded = np.stack(codec.decompress(frames, profile=Profile.EMBEDDED))

    measured = codec.header.measured
    assert measured.bytes_per_image >= 2  # the frame alone
    assert measured.bytes_per_image == sum(map(len, frames)) / 40
    assert measured.bits_per_pixel == 8 * measured.bytes_per_image / 64
    assert measured.mse == pytest.approx(mse(images.test, decoded), rel=1e-6)
    assert measured.psnr_db == pytest.approx(psnr_db(measured.mse))
    assert (measured.dataset, measured.num_images) == ("digits test", 40)


@pytest.mark.parametrize("model", LOSSES)
def test_a_checkpoint_tells_its_story(model):
    images = digit_set()
    header = export(model, images).header

    assert header.name == "digits"
    assert header.architecture == model
    assert header.config == TINY[model]
    assert header.spec == images.spec
    assert header.training.licence == "BSD-3-Clause"
    assert (header.training.num_images, header.training.epochs) == (200, 2)
    assert header.training.command == "kompakt train …"
    assert header.training.details["seed"] == 0
    assert header.training.details["images_sha256"] == images.sha256


def test_the_same_run_makes_the_same_file(tmp_path):
    for name in ("a", "b"):
        export("vae", digit_set()).save(tmp_path / name)

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_best_weights_are_exported_not_the_last():
    images = digit_set()
    state, settings = trained("ae", images)
    marked = {key: torch.zeros_like(value) for key, value in state.best_weights.items()}
    state.best_weights = marked

    checkpoint = export_checkpoint(state, settings, images, EXPORT, command="c", machine="m")

    assert all(not p.any() for p in checkpoint.model.parameters())


@pytest.mark.parametrize("model", LOSSES)
def test_training_symbols_are_all_in_the_tables_and_come_back(model):
    images = digit_set()
    checkpoint = export(model, images)
    codec = Codec(checkpoint, effort=0)
    levels = [i % len(codec.levels) for i in range(len(images.train))]

    x = torch.from_numpy(images.train).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        y = checkpoint.model.analyse(x, torch.tensor(levels))
        trained_on = checkpoint.model.quantise(y, torch.tensor(levels)).numpy()

    assert trained_on.any() == (model not in ("cvae", "context"))  # which still say nothing
    if checkpoint.model.symbol_step == 1:
        assert np.array_equal(np.rint(y.numpy()), trained_on)
    assert np.array_equal(codec.analyse(images.train, levels), trained_on)
    levels = levels[: len(images.test)]
    symbols = codec.analyse(images.test, levels)
    payloads = checkpoint.entropy.encode(symbols, levels)
    assert np.array_equal(checkpoint.entropy.decode(payloads, levels, symbols.shape[1:]), symbols)


def test_the_vaes_step_has_the_variance_of_its_posterior():
    images = digits(50)
    torch.manual_seed(0)
    model = build_model("vae", ImageSpec(height=8, width=8, channels=1), TINY["vae"]).eval()

    freeze(model, images, step_scale=0.5)

    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        variance = model.posterior(x)[1].exp().mean(0)
    assert torch.allclose(model.step, 0.5 * torch.sqrt(12 * variance), rtol=1e-5)


def test_tables_hold_the_frequencies_and_one_symbol_more_at_both_ends():
    symbols = np.array([[-1, 0, 0, 0, 2], [5, 5, 5, 5, 5]], np.float32).T[..., None, None]

    tables = build_tables(symbols)

    assert tables.shape == (2, 1, 1)
    assert tables.minimums == [-2, 5]
    assert tables.frequencies[1].tolist() == [1 << 24]
    shares = tables.frequencies[0] / (1 << 24)
    assert shares == pytest.approx(np.array([1, 3, 7, 1, 3, 1]) / 16, abs=1e-6)


@pytest.mark.parametrize("symbols", [[0, 4096], [20_000, 20_001], [-1e30, 0]])
def test_symbols_that_no_table_holds_are_refused(symbols):
    with pytest.raises(TrainingError, match=r"latent 0 takes values from .* larger --step-scale"):
        build_tables(np.array(symbols, np.float32)[:, None, None, None])


def test_loading_gives_the_tables_that_were_saved(tmp_path):
    checkpoint = export("ae", digit_set())
    checkpoint.save(tmp_path / "digits.safetensors")

    loaded = Checkpoint.load(tmp_path / "digits.safetensors")

    assert loaded.entropy.fingerprint == checkpoint.entropy.fingerprint
    assert loaded.header == checkpoint.header


def test_channels_that_are_always_zero_are_not_coded():
    images = digit_set()
    spec, config = images.spec, tiny_settings("hyperprior").config
    model = build_model("hyperprior", spec, config).eval()
    with torch.no_grad():
        model.gain.log_gain[:, :3] += 4  # fine steps for the first channels
        model.g_a.basis[2] = 0
    entropy = freeze(model, images.train, step_scale=1.0)

    assert isinstance(entropy, LiveEntropy)
    assert entropy.live[:3].tolist() == [True, True, False]
    pixels = torch.from_numpy(images.train).permute(0, 3, 1, 2)
    for level in range(model.levels):
        symbols = entropy.quantise(symbols_of(model, pixels, level), [level])
        assert entropy.live[symbols.any((0, 2, 3))].all()
        payloads = entropy.encode(symbols, [level] * len(symbols))
        decoded = entropy.decode(payloads, [level] * len(symbols), symbols.shape[1:])
        assert np.array_equal(decoded, symbols)
