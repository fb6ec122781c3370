"""Models of any size beside one of one size, their server, and pieces of a photograph."""

import shutil

import pytest
from sklearn.datasets import load_sample_images

from kompakt_codec.codec import Codec
from kompakt_codec.models import ImageSpec
from tests.service.conftest import start_server
from tests.support import make_any_size_checkpoint

OWN = (16, 24)
SIZES = [(20, 30), OWN, (1, 1), (20, 30), (61, 40), (3, 70)]


@pytest.fixture(scope="module")
def directory(checkpoints, tmp_path_factory):
    """Models any-grey and any-rgb, trained at 16x24, and tiny-vae of one size."""
    directory = tmp_path_factory.mktemp("served")
    shutil.copy(checkpoints / "tiny-vae.safetensors", directory)
    for name, channels in (("any-grey", 1), ("any-rgb", 3)):
        spec = ImageSpec(height=OWN[0], width=OWN[1], channels=channels)
        checkpoint = make_any_size_checkpoint(spec=spec, name=name)
        checkpoint.save(directory / f"{name}.safetensors")
    return directory


@pytest.fixture(scope="module")
def server(directory):
    server = start_server(directory, default_model="any-rgb")
    yield server
    server.stop(grace_seconds=0)


@pytest.fixture(scope="module")
def codec(directory):
    return Codec.load(directory / "any-rgb.safetensors")


@pytest.fixture(scope="module")
def photo():
    return load_sample_images().images[0]


@pytest.fixture(scope="module")
def images(photo):
    return [photo[100 : 100 + height, 200 : 200 + width] for height, width in SIZES]
