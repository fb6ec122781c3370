import subprocess
import sys

import pytest
import torch

from kompakt_codec.errors import CheckpointError
from kompakt_codec.models import (
    MODELS,
    ImageSpec,
    RateModel,
    build_model,
    crop,
    distortion_weight,
    distortion_weights,
)

STRIDES = {"factorized": 8, "hyperprior": 8, "gdn-factorized": 16, "gdn-hyperprior": 64}
"""What the sides of their images are filled to, of models of any size."""


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("size", [(28, 28), (4, 4), (7, 9), (13, 30), (64, 48)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_comes_back(architecture, size, channels):
    spec = ImageSpec(height=size[0], width=size[1], channels=channels)
    model = build_model(architecture, spec, {"width": 4, "latents": 16}).eval()
    x = torch.rand(2, channels, *size)
    level = torch.tensor([0, model.levels - 1])

    y = model.analyse(x, level)
    x_hat = model.synthesise(torch.round(y), level)

    assert y.shape == (2, *model.latent_shape_of(size))
    if model.any_size:
        step = STRIDES[architecture]
        filled = tuple(step * -(-side // step) for side in size)
        assert x_hat.shape[2:] == filled
        x_hat = crop(x_hat, size)
    assert x_hat.shape == x.shape
    assert x_hat.min() >= 0
    assert x_hat.max() <= 1


def test_the_autoencoders_latents_are_bounded_and_their_gradient_passes_the_rounding():
    model = build_model("ae", ImageSpec(height=8, width=8, channels=1), {"levels": 5})
    x = torch.rand(16, 1, 8, 8)
    assert model.analyse(100 * x).abs().max() <= 2
    model(x).mean().backward()
    assert model.g_a[0][0].weight.grad.abs().sum() > 0


def test_the_vae_synthesises_in_units_of_its_step():
    model = build_model("vae", ImageSpec(height=8, width=8, channels=1), {}).eval()
    x = torch.rand(4, 1, 8, 8)
    whole = model.synthesise(model.analyse(x))
    model.step.fill_(0.25)
    assert torch.allclose(model.synthesise(model.analyse(x)), whole, atol=1e-6)
    assert torch.allclose(model.analyse(x)[:, :, 0, 0], 4 * model.posterior(x)[0])


@pytest.mark.parametrize(
    ("architecture", "config"),
    [("gan", {}), ("ae", {"levels": 4}), ("ae", {"levels": 1}), ("vae", {"levels": 5})],
)
def test_wrong_configs_are_refused(architecture, config):
    with pytest.raises(CheckpointError):
        build_model(architecture, ImageSpec(height=8, width=8, channels=1), config)


@pytest.mark.parametrize("architecture", [a for a in MODELS if issubclass(MODELS[a], RateModel)])
def test_rate_and_distortion_have_gradients_everywhere(architecture):
    spec = ImageSpec(height=12, width=16, channels=3)
    model = build_model(architecture, spec, {"width": 4, "latents": 16})
    x = torch.rand(4, 3, 12, 16)

    x_hat, bits = model(x, torch.arange(4))
    ((x_hat - x).square().sum() + bits.sum()).backward()

    assert x_hat.shape == x.shape
    assert bits.shape == (4,)
    assert (bits > 0).all()
    assert all(p.grad is not None for p in model.parameters())


def test_weights_of_the_distortion_rise_in_even_ratios():
    weights = distortion_weights(13)
    assert len(weights) == 13
    assert torch.allclose(weights[1:] / weights[:-1], weights[1] / weights[0])
    assert distortion_weights(1).numel() == 1
    between = distortion_weight(13, torch.tensor([0.0, 3.5, 12.0]))
    torch.testing.assert_close(between[[0, 2]], weights[[0, 12]])
    torch.testing.assert_close(between[1], (weights[3] * weights[4]).sqrt())


def test_a_level_between_two_has_the_mean_of_their_shifts():
    torch.manual_seed(0)
    spec = ImageSpec(height=16, width=16, channels=1)
    prior = build_model("hyperprior", spec, {"width": 4, "latents": 16, "levels": 3}).prior.eval()
    y = torch.randint(-3, 4, (2, 16, 4, 4)).float()
    whole = torch.tensor([0, 2])
    torch.testing.assert_close(prior.bits(y, y, whole.float()), prior.bits(y, y, whole))

    layer = prior.h_s[1]
    layer.shifts.data[:] = torch.randn_like(layer.shifts)
    x = torch.randn(1, 96, 4, 4)
    below, between, above = (layer(x, torch.tensor([level])) for level in (1.0, 1.25, 2.0))
    torch.testing.assert_close(between, 0.75 * below + 0.25 * above)
    at = layer.at(x, torch.tensor([1.25]), (0, 1))
    torch.testing.assert_close(at, between[:, :, ::2, 1::2])


def test_a_level_between_two_has_the_side_tables_of_the_nearest():
    torch.manual_seed(0)
    spec = ImageSpec(height=16, width=16, channels=1)
    prior = build_model("hyperprior", spec, {"width": 4, "latents": 16, "levels": 3}).prior.eval()
    prior.side.means.data[:] = torch.arange(3.0)[:, None, None]  # all else is alike at all levels
    y = torch.randint(-3, 4, (1, 16, 4, 4)).float()

    with torch.no_grad():
        bits = {at: float(prior.bits(y, y, torch.tensor([at]))) for at in (1, 1.375, 1.5, 2)}

    assert bits[1.375] == bits[1] != bits[2] == bits[1.5]


def test_to_read_a_checkpoint_does_not_import_a_compiler():
    # It took seconds, and more than 100 MiB, of every process that serves.
    code = """
import sys
import torch
from kompakt_codec.models import MODELS, ImageSpec, build_model

for name in MODELS:
    with torch.device("meta"):
        build_model(name, ImageSpec(height=32, width=32, channels=1), {})
    for module in ("torch._dynamo", "sympy"):
        assert module not in sys.modules, (name, module)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
