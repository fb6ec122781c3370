"""Frames of classical codecs as a model's codec reads them."""

import zlib

import numpy as np
import pytest

from kompakt_codec.classical import (
    decode_classical,
    encode_classical,
    encode_classical_lossless,
)
from kompakt_codec.codec import Codec
from kompakt_codec.errors import InvalidStreamError, ModelMismatchError, StreamError
from kompakt_codec.frame import DEFLATE, NAMED_CODEC, Profile, pack_frame, parse_frame
from kompakt_codec.quality import (
    Demand,
    compress_with,
)
from tests.codec.streams import decoded
from tests.support import make_checkpoint, several_domains

FRAMING = {Profile.FILE: 12, Profile.EMBEDDED: 2}


@pytest.fixture(scope="module")
def codec(level_checkpoint):
    return Codec.load(level_checkpoint)


@pytest.mark.parametrize("profile", Profile)
def test_classical_frames_are_checked(codec, profile):
    noise, flat = several_domains()[:2]
    for pixels in (noise, flat):
        [made] = compress_with(codec, [pixels], Demand(lossless=True), profile=profile)
        frame = parse_frame(made.stream, profile)
        picture, name = codec.decode_classical(frame)
        assert np.array_equal(picture, pixels)
        assert name == made.codec
        num_wrong = 0
        for bit in range(8 * len(made.stream)):
            changed = bytearray(made.stream)
            changed[bit // 8] ^= 1 << bit % 8
            try:
                right = np.array_equal(decoded(codec, bytes(changed), profile), pixels)
            except StreamError:
                continue
            num_wrong += not right
        assert num_wrong <= (0 if profile is Profile.FILE else len(made.stream) / 8)


def test_every_classical_codec_is_named(codec):
    def name(payload: bytes, mode: int, pixels: np.ndarray) -> str:
        frame = pack_frame(payload, pixels, codec.fingerprint, profile=Profile.EMBEDDED, mode=mode)
        return codec.decode_classical(parse_frame(frame, Profile.EMBEDDED))[1]

    for pixels in several_domains()[1:]:
        data = pixels.tobytes()
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = encode_classical_lossless(pixels)
        assert name(deflate.compress(data) + deflate.flush(), DEFLATE, pixels) == "deflate"
        assert name(b"\0" + data, NAMED_CODEC, pixels) == "raw"
        assert name(body.payload, body.mode, pixels) == body.codec
        lossy = encode_classical(pixels, 0.02)
        picture = decode_classical(lossy.mode, lossy.payload, pixels.shape)
        assert name(lossy.payload, lossy.mode, picture) == lossy.codec


def test_a_classical_frame_names_its_model_and_no_size(codec):
    flat = several_domains()[1]
    other = Codec(make_checkpoint("ae"))
    [made] = compress_with(codec, [flat], Demand(lossless=True))
    with pytest.raises(ModelMismatchError, match="not by tiny-ae"):
        other.decode_classical(parse_frame(made.stream, Profile.FILE))
    body = encode_classical_lossless(flat)
    sized = pack_frame(
        body.payload,
        flat,
        codec.fingerprint,
        profile=Profile.EMBEDDED,
        mode=body.mode,
        size=(28, 28),
    )
    with pytest.raises(InvalidStreamError, match="where none is needed"):
        codec.decode_classical(parse_frame(sized, Profile.EMBEDDED))
