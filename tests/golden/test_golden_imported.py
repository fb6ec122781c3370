"""What imported models once wrote stays decodable, and their checkpoints load."""

import json

import pytest

from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile, parse_frame
from kompakt_training.compressai_names import ARCHITECTURES
from tests.golden.make_imported import IMPORTED


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("profile", Profile)
def test_golden_streams_decode_to_their_symbols(name, profile):
    golden = json.loads((IMPORTED / f"{name}.json").read_text())
    codec = Codec.load(IMPORTED / f"{name}.safetensors")
    assert codec.fingerprint.hex() == golden["fingerprint"]
    assert len(golden["streams"]) == 3

    for entry in golden["streams"]:
        stream = bytes.fromhex(entry[profile.value])
        frame = parse_frame(stream, profile)
        (symbols,) = codec.decode([frame])
        assert list(symbols.shape) == entry["latent_shape"]
        assert symbols.ravel().tolist() == entry["symbols"]
        again = codec.encode(symbols[None], [0], codec.size_of(frame), profile=profile)
        assert again == [stream]
