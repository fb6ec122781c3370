import random

import numpy as np
import pytest
import torch

from kompakt_codec.codec import Codec
from kompakt_codec.errors import InvalidStreamError, ModelMismatchError, StreamError
from kompakt_codec.frame import Profile, pack_frame, parse_frame
from kompakt_codec.models import MODELS


@pytest.fixture(params=MODELS)
def codec(request, checkpoints):
    return Codec.load(checkpoints / f"tiny-{request.param}.safetensors")


def symbols_of(codec: Codec, streams: list[bytes]) -> np.ndarray:
    return np.stack([codec.decode(parse_frame(s, Profile.FILE)) for s in streams])


@pytest.mark.parametrize("profile", Profile)
def test_streams_hold_exactly_the_symbols(codec, digits, profile):
    symbols = codec.analyse(digits[:20])

    streams = [codec.encode(s, profile=profile) for s in symbols]

    decoded = np.stack([codec.decode(parse_frame(s, profile)) for s in streams])
    assert np.array_equal(decoded, symbols)
    pixels = codec.decompress(streams, profile=profile)
    assert np.array_equal(np.stack(pixels), codec.synthesise(symbols))
    assert pixels[0].shape == (28, 28, 1)
    assert pixels[0].dtype == np.uint8


def test_no_images_give_no_streams(codec):
    assert codec.compress([]) == []
    assert codec.decompress([]) == []


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
    symbols = codec.analyse(digits[:1])[0]
    payload = parse_frame(codec.encode(symbols, profile=Profile.FILE), Profile.FILE).payload
    stream = pack_frame(payload, symbols, codec.fingerprint, profile=Profile.FILE, size=(28, 28))
    with pytest.raises(InvalidStreamError, match="only one size"):
        codec.decompress([stream])
