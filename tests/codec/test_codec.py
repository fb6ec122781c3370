import random

import numpy as np
import pytest
import torch

from kompakt_codec.codec import Codec
from kompakt_codec.errors import (
    InvalidStreamError,
    ModelMismatchError,
    StreamError,
    UnsupportedVersionError,
)
from kompakt_codec.frame import Profile, pack_frame, parse_frame
from kompakt_codec.metrics import mse
from tests.support import make_checkpoint, make_level_checkpoint


@pytest.fixture(params=["ae", "vae", "levels"])
def codec(request, checkpoints, level_checkpoint):
    if request.param == "levels":
        return Codec.load(level_checkpoint)
    return Codec.load(checkpoints / f"tiny-{request.param}.safetensors")


def symbols_of(codec: Codec, streams: list[bytes]) -> np.ndarray:
    decoded = codec.decode([parse_frame(s, Profile.FILE) for s in streams])
    for item in decoded:
        if isinstance(item, StreamError):
            raise item
    return np.stack(decoded)


@pytest.mark.parametrize("profile", Profile)
def test_streams_hold_exactly_the_symbols(codec, digits, profile):
    levels = [i % len(codec.levels) for i in range(20)]
    symbols = codec.analyse(digits[:20], levels)

    streams = codec.encode(symbols, levels, (28, 28), profile=profile)

    decoded = codec.decode([parse_frame(s, profile) for s in streams])
    assert np.array_equal(decoded, symbols)
    pixels = codec.decompress(streams, profile=profile)
    assert np.array_equal(np.stack(pixels), codec.synthesise(symbols, levels))
    assert pixels[0].shape == (28, 28, 1)
    assert pixels[0].dtype == np.uint8


def test_no_images_give_no_streams(codec):
    assert codec.compress([]) == []
    assert codec.decompress([]) == []


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_image_needs_its_level(codec, digits, count):
    with pytest.raises(ValueError, match=f"{count} levels for 2 images"):
        codec.compress(list(digits[:2]), level=[0] * count)


def test_levels_may_be_numpys(codec, digits):
    streams = codec.compress(list(digits[:2]), level=0)
    for level in (np.int64(0), np.zeros(2, np.int64)):
        assert codec.compress(list(digits[:2]), level=level) == streams


def test_threads_and_batches_do_not_change_symbols(codec, digits):
    streams = codec.compress(list(digits[:64]))
    whole = symbols_of(codec, streams)
    torch.set_num_threads(2)
    try:
        two_threads = symbols_of(codec, streams)
        pixels = np.stack(codec.decompress(streams))
    finally:
        torch.set_num_threads(1)
    one_by_one = np.stack([symbols_of(codec, [s])[0] for s in streams])

    assert np.array_equal(whole, two_threads)
    assert np.array_equal(whole, one_by_one)
    alone = np.stack([codec.decompress([s])[0] for s in streams])
    assert np.abs(pixels.astype(int) - alone).max() <= 1


def test_every_flip_and_cut_of_a_file_is_an_error_or_the_right_picture(codec, digits):
    stream = codec.compress([digits[0]])[0]
    right = symbols_of(codec, [stream])
    damaged = [stream[:n] for n in range(len(stream))]
    for bit in range(8 * len(stream)):
        flipped = bytearray(stream)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    rng = random.Random(0)
    for _ in range(500):
        noisy = bytearray(stream)
        for _ in range(rng.randint(2, 6)):
            noisy[rng.randrange(len(noisy))] = rng.randrange(256)
        damaged.append(bytes(noisy))
    errors = 0
    for data in damaged:
        try:
            assert np.array_equal(symbols_of(codec, [data]), right)
        except StreamError:
            errors += 1
    assert errors > len(damaged) * 0.9


def test_a_stream_of_another_model_is_named(checkpoints, digits):
    ae, vae = (Codec.load(checkpoints / f"tiny-{a}.safetensors") for a in ("ae", "vae"))
    with pytest.raises(ModelMismatchError, match=f"{ae.fingerprint.hex()[:8]}.*not by tiny-vae"):
        vae.decompress(ae.compress([digits[0]]))


def test_a_superfluous_shape_is_refused(codec, digits):
    symbols = codec.analyse(digits[:1], [0])[0]
    frame = codec.encode(symbols[None], [0], (28, 28), profile=Profile.FILE)[0]
    payload = parse_frame(frame, Profile.FILE).payload
    stream = pack_frame(payload, symbols, codec.fingerprint, profile=Profile.FILE, size=(28, 28))
    with pytest.raises(InvalidStreamError, match="where none is needed"):
        codec.decompress([stream])


def test_a_finer_level_is_closer_and_longer(level_checkpoint, digits):
    codec = Codec.load(level_checkpoint, effort=0)
    images = list(digits[:16])
    sizes, errors = [], []
    for level in range(len(codec.levels)):
        streams = codec.compress(images, level=level, profile=Profile.EMBEDDED)
        decoded = codec.decompress(streams, profile=Profile.EMBEDDED)
        sizes.append(sum(map(len, streams)))
        errors.append(mse(np.stack(images), np.stack(decoded)))
    assert sizes == sorted(set(sizes))
    assert errors[:3] == sorted(set(errors[:3]), reverse=True)


def test_effort_lowers_the_error_and_streams_decode_alike(level_checkpoint, digits):
    images = list(digits[:16])
    errors = []
    for effort in (0, 4):
        streams = Codec.load(level_checkpoint, effort=effort).compress(images)
        decoded = Codec.load(level_checkpoint).decompress(streams)
        errors.append(mse(np.stack(images), np.stack(decoded)))
    assert errors[1] < errors[0]


def test_a_level_that_the_model_lacks_is_refused(level_checkpoint, digits):
    codec = Codec.load(level_checkpoint)
    symbols = codec.analyse(digits[:1], [0])[0]
    stream = pack_frame(
        b"", symbols, codec.fingerprint, profile=Profile.FILE, mode=len(codec.levels)
    )
    with pytest.raises(UnsupportedVersionError, match="must be a whole number from 0 to 4"):
        codec.decompress([stream])


@pytest.mark.parametrize("checkpoint", [make_checkpoint("ae"), make_level_checkpoint()])
def test_pixels_that_nobody_can_write_to_are_taken(checkpoint):
    image = np.frombuffer(bytes(28 * 28), np.uint8).reshape(28, 28, 1)
    codec = Codec(checkpoint)
    [decoded] = codec.decompress(codec.compress([image]))
    assert decoded.shape == image.shape
