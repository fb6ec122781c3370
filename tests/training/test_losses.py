import math

import pytest
import torch

from kompakt_codec.models import ImageSpec, RateModel, VAEOutput, build_model
from kompakt_training.losses import LOSS_LABELS, LOSSES, autoencoder_loss, variational_loss
from kompakt_training.recipes import RECIPES
from tests.training.helpers import TINY


def test_every_architecture_has_a_loss_a_label_and_a_recipe():
    assert LOSSES.keys() == LOSS_LABELS.keys() == RECIPES.keys() == TINY.keys()


def test_the_autoencoders_loss_is_the_mse():
    x = torch.tensor([[0.0, 1.0], [0.5, 0.25]])

    loss = autoencoder_loss(lambda x: x + torch.tensor([0.5, -1.0]), x, 1.0)

    assert loss.total.item() == pytest.approx((0.25 + 1.0) / 2)
    assert loss.parts == {}


def test_the_variational_loss_is_a_mean_over_images_of_bce_and_kl():
    x = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    x_hat = torch.tensor([[0.5, 0.25], [0.5, 0.5]])
    mu = torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    log_var = torch.tensor([[0.0, 0.0], [1.0, 0.0]])

    loss = variational_loss(lambda *_: VAEOutput(x_hat, mu, log_var), x, 1.0)

    bce = (3 * math.log(2) - math.log(0.75)) / 2
    kl = 0.5 * (2.0**2 + (math.e - 1 - 1)) / 2
    assert loss.parts["bce"].item() == pytest.approx(bce)
    assert loss.parts["kl"].item() == pytest.approx(kl)
    assert loss.total.item() == pytest.approx(bce + kl)


@pytest.mark.parametrize("model", LOSSES)
def test_every_weight_gets_a_gradient(model):
    torch.manual_seed(0)
    network = build_model(model, ImageSpec(height=8, width=8, channels=1), TINY[model])
    with torch.no_grad():  # some layers start as zeros, which hides what comes before them
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    if isinstance(network, RateModel):  # latents that do not all round to 0
        network.gain.log_gain.data.add_(4)

    labels = torch.arange(64) % 3
    LOSSES[model](network, torch.rand(64, 1, 8, 8), 0.5, labels).total.backward()

    weights = [p for p in network.parameters() if p.ndim > 1]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in weights)


def test_every_weight_of_the_steps_that_see_each_other_gets_a_gradient():
    torch.manual_seed(0)
    config = {**TINY["hyperprior"], "spatial": 2}
    network = build_model("hyperprior", ImageSpec(height=16, width=16, channels=1), config)

    LOSSES["hyperprior"](network, torch.rand(64, 1, 16, 16), 0.5).total.backward()

    near = [p for name, p in network.prior.named_parameters() if name.startswith("near")]
    assert len(near) == 3 * 2 * 3 * 2
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in near)


def test_the_analysis_is_left_alone_at_the_end():
    torch.manual_seed(0)
    model = build_model("hyperprior", ImageSpec(height=8, width=8, channels=1), TINY["hyperprior"])
    x = torch.rand(8, 1, 8, 8)

    LOSSES["hyperprior"](model.train(), x, 0.9).total.backward()

    without = {name for name, p in model.named_parameters() if p.grad is None}
    analysis = {name for name, _ in model.named_parameters() if name.startswith("g_a.")}
    assert without == analysis | {"gain.log_gain"}


def test_the_rates_weight_rises_and_all_of_it_counts_in_evaluation():
    network = build_model("context", ImageSpec(height=8, width=8, channels=1), TINY["context"])
    x = torch.rand(6, 1, 8, 8)
    totals = []
    for progress in (0.0, 1.0):
        torch.manual_seed(0)
        totals.append(LOSSES["context"](network, x, progress).total.item())
    assert totals[0] < totals[1]
    network.eval()
    assert LOSSES["context"](network, x, 0.0).total == LOSSES["context"](network, x, 1.0).total


@pytest.mark.parametrize("model", ["context", "factorized", "hyperprior"])
def test_levels_between_two_are_trained_where_there_are_some(model, monkeypatch):
    torch.manual_seed(0)
    network = build_model(model, ImageSpec(height=8, width=8, channels=1), TINY[model])
    seen = []
    forward = network.forward
    monkeypatch.setattr(
        network, "forward", lambda x, level, **kw: seen.append(level) or forward(x, level, **kw)
    )

    LOSSES[model](network, torch.rand(400, 1, 8, 8), 0.5, None)
    LOSSES[model](network.eval(), torch.rand(6, 1, 8, 8), 1.0, None)

    training, evaluation = seen
    eighths = {k / 8 for k in range(17)}
    assert set(training.tolist()) == (eighths if model == "hyperprior" else {0, 1, 2})
    assert (training % 1 == 0).float().mean() > 0.5
    assert set(evaluation.tolist()) == {0, 1, 2}
