"""Classical frames cut or with flipped bits."""

import zlib

import numpy as np
import pytest

from kompakt_codec.baselines import BASELINES, encode_lossless
from kompakt_codec.classical import ClassicalBody, decode_classical
from kompakt_codec.classical._bodies import _Id, _named
from kompakt_codec.classical._deflate import cut, deflate, drop_first_bit
from kompakt_codec.classical._files import png_rows, strip_webp
from kompakt_codec.errors import CorruptStreamError, StreamError, UnsupportedVersionError
from kompakt_codec.frame import Profile, pack_frame, parse_frame

FINGERPRINT = bytes(range(32))
TRIALS = 20_000


def several_blocks(pixels: np.ndarray) -> ClassicalBody:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = pixels.tobytes()
    middle = len(data) // 2
    stream = compressor.compress(data[:middle]) + compressor.flush(zlib.Z_PARTIAL_FLUSH)
    stream += compressor.compress(data[middle:]) + compressor.flush()
    return ClassicalBody(mode=13, payload=cut(stream, data), codec="deflate", mse=0.0)


def one_block(pixels: np.ndarray) -> ClassicalBody:
    stream = deflate(pixels.tobytes())
    return ClassicalBody(mode=15, payload=drop_first_bit(stream), codec="deflate", mse=0.0)


def raw(pixels: np.ndarray) -> ClassicalBody:
    return _named(_Id.RAW, pixels.tobytes())


def png(pixels: np.ndarray) -> ClassicalBody:
    rows = png_rows(encode_lossless("png", pixels).data)
    return _named(_Id.PNG, zlib.compress(rows, 9, wbits=-15))


def webp_lossless(pixels: np.ndarray) -> ClassicalBody:
    file = encode_lossless("webp-lossless", pixels).data
    return _named(_Id.WEBP_LOSSLESS, strip_webp(file, lossless=True))


def webp(pixels: np.ndarray) -> ClassicalBody:
    return _named(_Id.WEBP, strip_webp(BASELINES["webp"].encode(pixels, 30, ""), lossless=False))


def damaged(rng: np.random.Generator, stream: bytes) -> bytes:
    if rng.random() < 0.2:
        return stream[: rng.integers(0, len(stream))]
    changed = bytearray(stream)
    for _ in range(rng.integers(1, 4)):
        changed[rng.integers(0, len(changed))] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed)


def decode(stream: bytes, profile: Profile, shape: tuple[int, int, int]) -> np.ndarray:
    frame = parse_frame(stream, profile)
    if frame.size is not None or not frame.is_classical:
        raise UnsupportedVersionError("a model of one size, and no symbols here")
    pixels = decode_classical(frame.mode, frame.payload, shape)
    frame.verify(FINGERPRINT, pixels)
    return pixels


def wrong_pictures(body: ClassicalBody, shape: tuple[int, int, int], profile: Profile) -> int:
    """How many of many damaged frames decode to another picture."""
    right = decode_classical(body.mode, body.payload, shape)
    stream = pack_frame(body.payload, right, FINGERPRINT, profile=profile, mode=body.mode)
    np.testing.assert_array_equal(decode(stream, profile, shape), right)
    rng = np.random.default_rng(body.mode)
    wrong = 0
    for _ in range(TRIALS):
        try:
            pixels = decode(damaged(rng, stream), profile, shape)
        except StreamError:
            continue
        wrong += not np.array_equal(pixels, right)
    return wrong


@pytest.mark.parametrize("make", [several_blocks, one_block, raw, png, webp_lossless, webp])
@pytest.mark.parametrize("profile", Profile)
def test_damage_is_a_typed_error_or_the_right_picture(digits, make, profile):
    pixels = digits[0, 2:26, 2:26]
    wrong = wrong_pictures(make(pixels), pixels.shape, profile)
    assert wrong <= (0 if profile is Profile.FILE else TRIALS / 256)


def test_the_check_covers_mode_codec_and_pixels():
    pixels = np.full((2, 2, 1), 3, np.uint8)
    stream = bytearray(
        pack_frame(b"\0\3\3\3\3", pixels, FINGERPRINT, profile=Profile.EMBEDDED, mode=14)
    )
    parse_frame(bytes(stream), Profile.EMBEDDED).verify(FINGERPRINT, pixels)
    with pytest.raises(CorruptStreamError):
        parse_frame(bytes(stream), Profile.EMBEDDED).verify(FINGERPRINT, pixels + 1)
    for at in (0, 1):
        other = stream.copy()
        other[at] ^= 1
        with pytest.raises(CorruptStreamError):
            parse_frame(bytes(other), Profile.EMBEDDED).verify(FINGERPRINT, pixels)


@pytest.mark.parametrize("mode", range(16))
def test_modes_are_levels_or_classical(mode):
    symbols = np.zeros((1, 1, 1), np.int16)
    stream = pack_frame(b"", symbols, FINGERPRINT, profile=Profile.FILE, mode=mode)
    frame = parse_frame(stream, Profile.FILE)

    assert frame.mode == mode
    assert frame.is_classical == (mode > 12)
    assert frame.level == (None if mode > 12 else mode)
