"""What was once written stays decodable. If a test here fails, a user's stored streams break."""

import json

import numpy as np
import pytest

from kompakt_codec.codec import Codec, level_of
from kompakt_codec.frame import Profile, parse_frame
from kompakt_service.settings import DEFAULT_MODELS
from tests.golden.make import GOLDEN, images

DEFAULTS = sorted(path.stem for path in DEFAULT_MODELS.glob("*.safetensors"))


def test_every_default_checkpoint_has_golden_streams():
    assert DEFAULTS == [
        "mnist-ae",
        "mnist-context",
        "mnist-cvae",
        "mnist-vae",
        "photos",
        "photos-hyperprior",
    ]
    assert sorted(path.stem for path in GOLDEN.glob("*.json")) == DEFAULTS


@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.parametrize("profile", Profile)
def test_golden_streams_decode_to_their_symbols(name, profile):
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    codec = Codec.load(DEFAULT_MODELS / f"{name}.safetensors")
    assert codec.fingerprint.hex() == golden["fingerprint"]

    for entry in golden["streams"]:
        stream = bytes.fromhex(entry[profile.value])
        frame = parse_frame(stream, profile)
        (symbols,) = codec.decode([frame])
        levels, size = [level_of(frame)], codec.size_of(frame)
        assert symbols.shape == tuple(golden["latent_shape"])
        assert symbols.ravel().tolist() == entry["symbols"]
        assert codec.encode(symbols[None], levels, size, profile=profile) == [stream]


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_golden_images_still_look_like_themselves(name):
    """Pixels may differ by rounding between machines, so they are held by their distortion."""
    codec = Codec.load(DEFAULT_MODELS / f"{name}.safetensors")
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    streams = [bytes.fromhex(entry["file"]) for entry in golden["streams"]]
    real = images(codec)[:-2].astype(float)
    decoded = np.stack(codec.decompress(streams)[: len(real)])
    assert (((decoded - real) / 255) ** 2).mean() < 0.03
