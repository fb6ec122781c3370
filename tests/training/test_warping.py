"""Small affine maps of images in training."""

import pytest
import torch

from kompakt_training.warping import warped
from tests.training.helpers import digits


@pytest.fixture
def images() -> torch.Tensor:
    return torch.from_numpy(digits(40)).permute(0, 3, 1, 2).float() / 255


def test_half_of_the_images_change_a_little_and_the_others_not_at_all(images):
    torch.manual_seed(0)
    made = warped(images)

    assert made.shape == images.shape
    assert made.min() >= 0
    assert made.max() <= 1
    assert torch.equal(made[20:], images[20:])
    change = (made[:20] - images[:20]).square().mean((1, 2, 3))
    others = (images[:20] - images[:20].roll(1, 0)).square().mean((1, 2, 3))
    assert (change > 0).all()
    assert change.mean() < 0.2 * others.mean()


def test_the_draws_are_the_generators(images):
    torch.manual_seed(1)
    first = warped(images)
    assert not torch.equal(warped(images), first)
    torch.manual_seed(1)
    assert torch.equal(warped(images), first)


def test_what_comes_in_from_outside_is_as_the_edge():
    torch.manual_seed(0)
    field = torch.full((8, 3, 9, 7), 0.75)
    assert torch.allclose(warped(field), field, atol=1e-6)


def test_a_lone_image_is_warped():
    torch.manual_seed(0)
    ramp = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
    assert not torch.equal(warped(ramp), ramp)
