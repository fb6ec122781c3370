import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kompakt_codec.baselines import BASELINES, encode_at_mse, encode_lossless
from kompakt_codec.classical import (
    ClassicalBody,
    cannot_win,
    decode_classical,
    encode_classical,
    encode_classical_avif,
    encode_classical_lossless,
)
from kompakt_codec.classical._bound import lossy_floor, webp_floor
from kompakt_codec.errors import (
    CorruptStreamError,
    InvalidStreamError,
    StreamError,
    UnsupportedVersionError,
)
from kompakt_codec.frame import Profile, pack_frame, parse_frame
from kompakt_codec.metrics import mse
from tests.codec.classical_images import images, noise

FINGERPRINT = bytes(range(32))
LOSSLESS = ("deflate", "png", "webp-lossless")

shapes = st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]))
pixels_of_any_kind = shapes.flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 255))
)


def pack(body: ClassicalBody, pixels: np.ndarray, profile: Profile = Profile.EMBEDDED) -> bytes:
    return pack_frame(body.payload, pixels, FINGERPRINT, profile=profile, mode=body.mode)


def unpack(stream: bytes, shape: tuple[int, int, int], profile: Profile) -> np.ndarray:
    frame = parse_frame(stream, profile)
    pixels = decode_classical(frame.mode, frame.payload, shape)
    frame.verify(FINGERPRINT, pixels)
    return pixels


@settings(deadline=None, max_examples=50)
@given(pixels=pixels_of_any_kind, profile=st.sampled_from(Profile))
def test_lossless_frames_return_the_pixels(pixels, profile):
    body = encode_classical_lossless(pixels)
    decoded = unpack(pack(body, pixels, profile), pixels.shape, profile)

    np.testing.assert_array_equal(decoded, pixels)
    assert decoded.flags.writeable
    assert decoded.flags.c_contiguous
    assert body.mse == 0


@settings(deadline=None, max_examples=50)
@given(pixels=pixels_of_any_kind, max_mse=st.floats(0, 0.1))
def test_lossy_frames_are_within_the_bound_and_say_their_mse(pixels, max_mse):
    body = encode_classical(pixels, max_mse)
    decoded = decode_classical(body.mode, body.payload, pixels.shape)

    assert body.mse == mse(pixels, decoded) <= max_mse
    assert len(body.payload) <= len(encode_classical_lossless(pixels).payload)


@pytest.mark.parametrize("seed", range(5))
def test_lossless_frames_are_at_most_one_byte_over_the_shortest_file(seed):
    for pixels in images(seed, 400):
        shortest_file = min(len(encode_lossless(name, pixels).data) for name in LOSSLESS)
        body = encode_classical_lossless(pixels)
        assert len(pack(body, pixels)) <= shortest_file + 1, (pixels.shape, body.codec)


def test_lossless_frames_of_digits_keep_the_promise_too(digits):
    for pixels in digits[:60]:
        shortest_file = min(len(encode_lossless(name, pixels).data) for name in LOSSLESS)
        assert len(pack(encode_classical_lossless(pixels), pixels)) <= shortest_file + 1


def test_what_zlib_leaves_no_byte_of_is_searched_for():
    pixels = np.random.default_rng(1).choice([2, 194], (24, 24, 1), p=[0.95, 0.05]).astype(np.uint8)
    shortest_file = min(len(encode_lossless(name, pixels).data) for name in LOSSLESS)
    assert len(encode_classical_lossless(pixels).payload) < shortest_file


@pytest.mark.parametrize("max_mse", [0.0001, 0.0027, 0.02])
def test_lossy_frames_are_at_most_one_byte_over_webp(digits, max_mse):
    lossy = 0
    for pixels in [*images(9, 45, side=40), *digits[:15]]:
        body = encode_classical(pixels, max_mse)
        webp = encode_at_mse("webp", pixels, max_mse)
        lossy += body.codec == "webp"
        assert webp is None or len(pack(body, pixels)) <= len(webp.data) + 1
    assert lossy > 5


def test_the_kinds_of_images_reach_every_lossless_codec():
    codecs = {encode_classical_lossless(pixels).codec for pixels in images(0, 200)}
    assert codecs == {"raw", "deflate", "png", "webp-lossless"}


def test_a_photo_of_many_blocks_comes_back():
    y, x = np.indices((150, 200))
    pixels = ((y * x) % 251 ^ (x * x >> 4)).astype(np.uint8)[..., None]
    body = encode_classical_lossless(pixels)
    np.testing.assert_array_equal(decode_classical(body.mode, body.payload, pixels.shape), pixels)


@given(mode=st.integers(13, 15), payload=st.binary(max_size=80), shape=shapes)
def test_any_bytes_are_pixels_or_a_typed_error(mode, payload, shape):
    try:
        pixels = decode_classical(mode, payload, shape)
    except StreamError:
        return
    assert pixels.shape == shape
    assert pixels.dtype == np.uint8


def png_of_filter(number: int) -> bytes:
    rows = bytes([number, 1, 2, 3, 4]) * 4
    return b"\x01" + zlib.compress(rows)[2:-4]


@pytest.mark.parametrize(
    ("mode", "payload", "error", "message"),
    [
        (14, b"", InvalidStreamError, "names no codec"),
        (14, b"\x05" + bytes(9), UnsupportedVersionError, "codec 5"),
        (14, b"\x00" + bytes(15), InvalidStreamError, "15 raw bytes for 16"),
        (14, png_of_filter(5), CorruptStreamError, "png"),
        (14, b"\x02" + bytes(9), CorruptStreamError, "webp-lossless"),
        (14, b"\x03" + bytes(9), CorruptStreamError, "webp"),
        (13, bytes(18), InvalidStreamError, "18 bytes is longer than the 16"),
        (13, b"", CorruptStreamError, "DEFLATE"),
        (13, zlib.compress(bytes(15), wbits=-15), CorruptStreamError, "ends before"),
        (15, b"\xff", CorruptStreamError, "DEFLATE"),
    ],
)
def test_malformed_payloads(mode, payload, error, message):
    with pytest.raises(error, match=message):
        decode_classical(mode, payload, (4, 4, 1))


def test_a_bomb_gives_no_more_pixels_than_the_shape():
    bomb = zlib.compress(bytes(1 << 14), wbits=-15)
    assert decode_classical(13, bomb, (8, 8, 1)).tobytes() == bytes(64)


def test_webp_frames_stop_at_the_sides_that_webp_holds():
    with pytest.raises(InvalidStreamError, match="16383"):
        decode_classical(14, b"\x02", (1, 16_384, 1))
    long = np.tile(np.arange(0, 256, 5, dtype=np.uint8), 400)[None, :17_000, None]
    body = encode_classical(long, 0.01)
    np.testing.assert_array_equal(decode_classical(body.mode, body.payload, long.shape), long)


def test_modes_of_symbols_are_not_for_this_decoder():
    with pytest.raises(ValueError, match="mode 12"):
        decode_classical(12, b"", (1, 1, 1))


def is_ruled_out(pixels, neural_bytes):
    return bool(cannot_win(pixels[None], np.array([neural_bytes]))[0])


@pytest.mark.parametrize("neural_bytes", [5, 9, 13, 17])
def test_no_classical_frame_wins_where_none_can(digits, neural_bytes):
    ruled_out = 0
    for pixels in [*images(3, 90), *digits[:10]]:
        if is_ruled_out(pixels, neural_bytes):
            ruled_out += 1
            assert len(encode_classical(pixels, 1.0).payload) >= neural_bytes
    assert ruled_out >= 10


def test_digits_need_no_search(digits):
    assert cannot_win(digits, np.full(len(digits), 13)).all()
    assert not is_ruled_out(digits[0], 200)


def test_simple_images_need_one():
    flat = np.full((28, 28, 1), 7, np.uint8)
    ramp = np.arange(28 * 28, dtype=np.uint16).astype(np.uint8).reshape(28, 28, 1)
    assert not is_ruled_out(flat, 13)
    assert not is_ruled_out(ramp, 13)


def test_a_batch_says_what_its_images_say():
    rng = np.random.default_rng(0)
    batch = np.stack([noise(rng, (8, 8, 3)) // step for step in range(1, 40)]).astype(np.uint8)
    num_bytes = rng.integers(4, 20, len(batch))
    expected = [is_ruled_out(pixels, int(n)) for pixels, n in zip(batch, num_bytes, strict=True)]
    assert cannot_win(batch, num_bytes).tolist() == expected
    assert len(set(expected)) == 2


@pytest.mark.parametrize("side", [1, 16, 28, 40, 64, 128])
def test_flat_webp_is_not_under_its_floor(side):
    pixels = np.full((side, side, 1), 90, np.uint8)
    for quality in (0, 30, 75, 100):
        file = BASELINES["webp"].encode(pixels, quality, "")
        assert len(file) - 27 + 1 >= webp_floor(side, side)


@pytest.mark.parametrize("side", [8, 28, 64, 256])
def test_flat_avif_is_not_under_the_floor(side):
    for pixels in (np.full((side, side, 1), 90, np.uint8), np.zeros((side, side, 3), np.uint8)):
        body = encode_classical_avif(pixels, 1.0)
        assert body is not None
        assert len(body.payload) > lossy_floor(side, side, avif=True)
