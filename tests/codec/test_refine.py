"""The encoder's search: the cost never rises, and real streams show it."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from kompakt_codec.codec import Codec
from kompakt_codec.context_coder import ContextEntropy
from kompakt_codec.frame import Profile
from kompakt_codec.metrics import mse
from kompakt_codec.models import ContextModel, ImageSpec, build_model, distortion_weights
from kompakt_codec.refine import DISTORTION_SHARE, Refiner

BOUND = 3


def cost(
    model: ContextModel,
    entropy: ContextEntropy,
    x: torch.Tensor,
    symbols: np.ndarray,
    level: torch.Tensor,
) -> np.ndarray:
    x_hat = model.synthesise(torch.from_numpy(symbols).float(), level)
    error = (x_hat - x).square().sum((1, 2, 3)).numpy()
    bits = [8 * len(payload) for payload in entropy.encode(symbols, level.tolist())]
    return bits + DISTORTION_SHARE * distortion_weights(model.levels)[level].numpy() * error


@pytest.mark.parametrize("scalar_levels", [13, 4])
def test_every_step_lowers_the_cost_in_bytes_or_changes_nothing(scalar_levels):
    torch.manual_seed(0)
    config = {"latents": 9, "scalar_levels": scalar_levels}
    model = build_model("context", ImageSpec(height=8, width=8, channels=1), config).eval()
    entropy = ContextEntropy.freeze(
        model.prior, max_symbols=[BOUND] * model.levels, dependent=model.quantiser.dependent
    )
    x = torch.rand(64, 1, 8, 8)
    level = torch.arange(64) % model.levels
    refiner = Refiner(model, entropy, x.device)
    with torch.no_grad():
        y = 20 * model.analyse(x, level)
        made = [refiner.refine(x, y, level, steps) for steps in (0, 1, 3, 12)]
        costs = [cost(model, entropy, x, one, level) for one in made]

    assert np.array_equal(made[0], entropy.quantise(y.numpy(), level.tolist()))
    for one in made:
        assert np.array_equal(entropy.quantise(one.astype(np.float32), level.tolist()), one)
    for before, after in pairwise(costs):
        assert (after <= before * 1.02 + 0.1).all()  # the search may run in reduced precision
    assert costs[-1].sum() < costs[0].sum()
    changes = (made[1] != made[0]).reshape(len(x), -1).sum(1)
    assert changes[level < scalar_levels].max() <= 1
    assert changes.max() > 0


@pytest.mark.parametrize("scalar_levels", [13, 4])
def test_latents_beyond_the_outermost_symbols_are_mended_too(scalar_levels):
    torch.manual_seed(0)
    config = {"latents": 9, "scalar_levels": scalar_levels}
    model = build_model("context", ImageSpec(height=8, width=8, channels=1), config).eval()
    entropy = ContextEntropy.freeze(
        model.prior, max_symbols=[BOUND] * model.levels, dependent=model.quantiser.dependent
    )
    level = torch.full((32,), 6)
    signs = torch.sign(torch.randn(32, 9, 1, 1))
    with torch.no_grad():
        x = model.synthesise(model.symbol_step * signs, level)
        refiner = Refiner(model, entropy, x.device)
        made = [refiner.refine(x, 40 * signs, level, steps) for steps in (0, 9)]
    assert (made[1] != made[0]).any()


@pytest.mark.parametrize("scalar_levels", [13, 4])
def test_the_prior_of_an_entropy_path_is_the_one_that_it_was_made_of(scalar_levels):
    torch.manual_seed(0)
    config = {"latents": 9, "scalar_levels": scalar_levels}
    model = build_model("context", ImageSpec(height=8, width=8, channels=1), config)
    level = torch.arange(40) % model.levels
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        entropy = ContextEntropy.freeze(
            model.prior, max_symbols=[9] * model.levels, dependent=model.quantiser.dependent
        )
        frozen = entropy.prior()
        y = torch.randint(-4, 5, (40, 9, 1, 1)).float()
        expected = model.prior.bits(y, y, level)
        assert torch.allclose(frozen.bits(y, y, level), expected, rtol=0.01, atol=0.05)


@pytest.mark.parametrize("level", [0, 2, 4])
def test_effort_pays_in_real_streams(level_checkpoint, digits, level):
    costs = []
    for effort in (0, 2):
        codec = Codec.load(level_checkpoint, effort=effort)
        images = list(digits[:24])
        streams = codec.compress(images, level=level, profile=Profile.EMBEDDED)
        back = codec.decompress(streams, profile=Profile.EMBEDDED)
        weight = DISTORTION_SHARE * distortion_weights(len(codec.levels))[level].item()
        error = sum(mse(a, b) * a.size for a, b in zip(images, back, strict=True))
        costs.append(8 * sum(map(len, streams)) + weight * error)
    assert costs[1] < costs[0]
