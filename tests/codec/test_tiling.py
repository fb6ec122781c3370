"""Images larger than a tile: no seams, a payload for each tile, typed errors for bad lengths."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_sample_images

from kompakt_codec import quantised
from kompakt_codec.codec import Codec
from kompakt_codec.errors import CorruptStreamError, InvalidStreamError, StreamError
from kompakt_codec.frame import Profile, parse_frame
from kompakt_codec.interruption import interruptible
from kompakt_codec.models import ImageSpec, build_model
from kompakt_codec.tiling import (
    LARGEST_TILE,
    _joined,
    _split,
    decode_tiles,
    encode_tiles,
    tiles_of,
)
from tests.support import make_any_size_checkpoint

TILE = 32
SPEC = ImageSpec(height=16, width=24, channels=3)
LEVELS = st.integers(0, 2)


@pytest.fixture(scope="module")
def photo():
    return load_sample_images().images[0][100:221, 200:307]


@pytest.fixture(scope="module")
def whole():
    return Codec(make_any_size_checkpoint(spec=SPEC, blocks=1))


@pytest.fixture
def tiled(monkeypatch):
    """The same codec with tiles of 32x32."""
    monkeypatch.setattr(quantised, "LARGEST_TILE", TILE)
    return Codec(make_any_size_checkpoint(spec=SPEC, blocks=1))


@given(height=st.integers(1, 400), width=st.integers(1, 400), largest=st.integers(1, 130))
def test_tiles_cover_everything_once_and_none_is_too_large(height, width, largest):
    seen = np.zeros((height, width), np.int64)

    tiles = tiles_of((height, width), largest)

    for tile in tiles:
        tile.of(seen, 0)[:] += 1
        assert 1 <= min(tile.size) <= max(tile.size) <= largest
    assert (seen == 1).all()
    assert len(tiles) == -(-height // largest) * -(-width // largest)


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("size", [(121, 107), (33, 20), (8, 65), (1, 100), (64, 64)])
def test_tiles_leave_no_seams(photo, whole, tiled, size, level):
    image = photo[None, : size[0], : size[1]]
    symbols = whole.analyse(image, [level])

    near = np.abs(tiled.analyse(image, [level]).astype(int) - symbols)
    pixels = tiled.synthesise(symbols, [level]).astype(int)

    assert near.max() <= 1
    assert (near > 0).mean() < 0.001
    assert np.abs(pixels - whole.synthesise(symbols, [level])).max() <= 1


@pytest.mark.parametrize("architecture", ["factorized", "hyperprior"])
@pytest.mark.parametrize("blocks", [0, 1, 2, 4])
def test_no_transform_sees_further_than_it_says(architecture, blocks):
    torch.manual_seed(0)
    config = {"width": 4, "blocks": blocks, "latents": 16, "levels": 1}
    model = build_model(architecture, ImageSpec(height=8, width=8, channels=1), config).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    middle, size = 20, 41
    y, x = torch.randn(1, 16, size, size), torch.rand(1, 1, 8 * size, 8 * size)
    other_y, other_x = y.clone(), x.clone()
    other_y[:, :, middle, middle] += 3
    other_x[:, :, 8 * middle : 8 * middle + 8, 8 * middle : 8 * middle + 8] += 1

    with torch.no_grad():
        pixels = model.g_s(other_y, torch.tensor([0])) - model.g_s(y, torch.tensor([0]))
        latents = model.analyse(other_x) - model.analyse(x)

    for changed, stride in ((pixels, 8), (latents, 1)):
        rows = changed[0].abs().amax(0).amax(1).nonzero()[:, 0]
        assert rows.min() >= stride * (middle - model.reach)
        assert rows.max() < stride * (middle + 1 + model.reach)
        assert len(rows)


@pytest.mark.parametrize("profile", Profile)
def test_frames_of_many_tiles_come_back(photo, tiled, profile):
    images = [photo, photo[:40, :30], photo[:20, :20], photo]

    frames = tiled.compress(images, profile=profile, level=2)

    [first, *_, last] = decoded = tiled.decompress(frames, profile=profile)
    assert frames[0] == frames[-1]
    assert np.array_equal(first, last)
    for image, pixels in zip(images, decoded, strict=True):
        assert pixels.shape == image.shape
        lost = (pixels / 255.0 - image / 255.0).var()
        assert lost < 0.5 * (image / 255).var()


@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    largest=st.integers(1, 5),
    levels=st.lists(LEVELS, min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
)
def test_payloads_of_tiles_are_those_of_their_symbols(whole, size, largest, levels, seed):
    rng = np.random.default_rng(seed)
    symbols = np.rint(rng.laplace(0, 2, (len(levels), 36, *size))).astype(np.int16)
    entropy = whole._entropy

    payloads = encode_tiles(entropy, symbols, levels, largest=largest)
    decoded = decode_tiles(entropy, payloads, levels, (36, *size), largest=largest)

    assert all(np.array_equal(*pair) for pair in zip(decoded, symbols, strict=True))
    if max(size) <= largest:
        assert payloads == entropy.encode(symbols, levels)


@settings(deadline=None, max_examples=200)
@given(payload=st.binary(max_size=300), level=LEVELS)
def test_any_payload_is_symbols_or_a_typed_error(whole, payload, level):
    [item] = decode_tiles(whole._entropy, [payload], [level], (36, 5, 7), largest=3)
    assert isinstance(item, StreamError) or item.shape == (36, 5, 7)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "malformed"),
        (b"\x80", "malformed"),
        (b"\x80\x00\x00", "malformed"),
        (b"\x80\x80\x80\x80\x01", "malformed"),
        (b"\x01", "longer than"),
        (b"\xff\xff\xff\x7f1234", "longer than"),
    ],
)
def test_lengths_that_do_not_fit_are_invalid(whole, payload, words):
    [item] = decode_tiles(whole._entropy, [payload], [0], (36, 1, 2), largest=1)
    assert isinstance(item, InvalidStreamError)
    assert words in str(item)


def test_every_cut_and_most_flips_of_a_tiled_frame_are_found(photo, tiled):
    [frame] = tiled.compress([photo[:40, :70]], level=1)
    expected = tiled.decompress([frame])[0]
    for kept in range(len(frame)):
        with pytest.raises(StreamError):
            tiled.decompress([frame[:kept]])
    for position in range(len(frame)):
        changed = bytearray(frame)
        changed[position] ^= 1 << position % 8
        try:
            [pixels] = tiled.decompress([bytes(changed)])
        except StreamError:
            continue
        assert np.array_equal(pixels, expected)


def test_a_tile_that_was_swapped_with_another_is_corrupt(photo, tiled):
    [frame] = tiled.compress([photo[:32, :64]], level=1)
    parsed = parse_frame(frame, Profile.FILE)
    one, two = _split(parsed.payload, 2)
    assert one != two
    swapped = frame.replace(parsed.payload, _joined([two, one]))
    with pytest.raises(CorruptStreamError):
        tiled.decompress([swapped])


def test_a_tile_is_a_thousand_and_twenty_four_pixels(whole):
    assert LARGEST_TILE == 1024
    assert whole._quantised.largest_tile == 128


def test_nobody_waits_for_the_other_tiles(photo, tiled):
    class LeftError(Exception):
        """The caller has left."""

    def leave() -> None:
        nonlocal looks
        looks += 1
        if looks > 2:
            raise LeftError

    [symbols] = tiled.analyse(photo[None], [0])
    [stream] = tiled.compress([photo])
    frame = parse_frame(stream, Profile.FILE)
    for work in (
        lambda: tiled.analyse(photo[None], [0]),
        lambda: tiled.synthesise(symbols[None], [0]),
        lambda: tiled.encode(symbols[None], [0], photo.shape[:2], profile=Profile.FILE),
        lambda: tiled.decode([frame]),
    ):
        looks = 0
        with pytest.raises(LeftError), interruptible(leave):
            work()
        assert looks == 3
