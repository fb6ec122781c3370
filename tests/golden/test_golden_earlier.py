"""Checkpoints of earlier versions load, and what they wrote decodes.

``context-scalar``: a context model before there were dependent levels, trained at commit 3ddd4cd
on scikit-learn's digits, 8x8 (``kompakt train --model context --dataset folder:digits --width 8
--blocks 0 --latents 12 --units 4 --epochs 50 --batch-size 16 --learning-rate 0.01``).
"""

import json
from pathlib import Path

import pytest

from kompakt_codec.codec import Codec, level_of
from kompakt_codec.frame import Profile, parse_frame

EARLIER = Path(__file__).parent / "earlier"


@pytest.mark.parametrize("profile", Profile)
def test_streams_of_a_context_model_without_dependent_levels(profile):
    golden = json.loads((EARLIER / "context-scalar.json").read_text())
    codec = Codec.load(EARLIER / "context-scalar.safetensors")
    assert codec.fingerprint.hex() == golden["fingerprint"]
    assert "scalar_levels" not in codec.header.config
    assert len(golden["streams"]) == 15

    for entry in golden["streams"]:
        stream = bytes.fromhex(entry[profile.value])
        frame = parse_frame(stream, profile)
        (symbols,) = codec.decode([frame])
        assert symbols.shape == tuple(golden["latent_shape"])
        assert symbols.ravel().tolist() == entry["symbols"]
        levels, size = [level_of(frame)], codec.size_of(frame)
        assert codec.encode(symbols[None], levels, size, profile=profile) == [stream]
