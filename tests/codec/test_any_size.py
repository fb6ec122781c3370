"""Models of any size: images of sizes that the training never saw, and frames that say theirs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_sample_images

from kompakt_codec.accepted import MAX_SIDE, MIN_SIDE, ShapeRange, SizeRange
from kompakt_codec.codec import Codec, crop_pixels
from kompakt_codec.errors import (
    CorruptStreamError,
    InvalidStreamError,
    UnsupportedImageError,
    WrongSizeError,
)
from kompakt_codec.frame import Profile, pack_frame, parse_frame
from kompakt_codec.metrics import mse
from kompakt_codec.models import ImageSpec
from kompakt_codec.quality import (
    Demand,
    Fallback,
    Made,
    QualityUnreachableError,
    compress_with,
)
from tests.support import make_any_size_checkpoint, make_checkpoint

OWN = (16, 24)
"""The size that the tests' models are for."""
SIDES = st.integers(1, 40)
RANGE = SizeRange(least=(MIN_SIDE, MIN_SIDE), most=(MAX_SIDE, MAX_SIDE))


@pytest.fixture(scope="module")
def photo():
    """Uint8 (427, 640, 3)."""
    return load_sample_images().images[0]


@pytest.fixture(scope="module")
def codecs():
    """By their channels."""
    specs = [ImageSpec(height=OWN[0], width=OWN[1], channels=n) for n in (1, 3)]
    return {spec.channels: Codec(make_any_size_checkpoint(spec=spec)) for spec in specs}


@pytest.fixture(scope="module")
def codec(codecs):
    return codecs[3]


def cut(photo: np.ndarray, size: tuple[int, int], channels: int = 3, at: int = 0) -> np.ndarray:
    return photo[at : at + size[0], 2 * at : 2 * at + size[1], :channels]


def mixed(photo: np.ndarray) -> list[np.ndarray]:
    """Pieces of a photo, noise and a flat field, of five sizes."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (11, 8, 3), np.uint8)
    sizes = [OWN, (40, 33), OWN, (9, 70)]
    return [
        *(cut(photo, size, at=150) for size in sizes),
        noise,
        np.full((30, 20, 3), 77, np.uint8),
    ]


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.one_of(st.just(OWN), st.tuples(SIDES, SIDES)), min_size=1, max_size=5),
    channels=st.sampled_from([1, 3]),
    profile=st.sampled_from(Profile),
    level=st.integers(0, 2),
    at=st.integers(0, 250),
)
def test_images_of_all_sizes_come_back_in_one_call(
    photo, codecs, sizes, channels, profile, level, at
):
    codec = codecs[channels]
    images = [cut(photo, size, channels, at) for size in sizes]

    frames = codec.compress(images, profile=profile, level=level)

    decoded = codec.decompress(frames, profile=profile)
    parsed = [parse_frame(frame, profile) for frame in frames]
    for frame, one, pixels, size in zip(frames, parsed, decoded, sizes, strict=True):
        [symbols] = codec.decode([one])
        assert symbols.shape == codec.latent_shape(size) == (12 * channels, *rounded_up(size))
        assert codec.encode(symbols[None], [level], size, profile=profile) == [frame]
        alone = crop_pixels(codec.synthesise(symbols[None], [level])[0], size)
        assert pixels.shape == (*size, channels)
        assert np.abs(pixels.astype(int) - alone).max() <= 1
        assert one.size == (None if size == OWN else size)
        assert codec.num_pixels(one) == size[0] * size[1]


def rounded_up(size: tuple[int, int]) -> tuple[int, int]:
    return -(-size[0] // 8), -(-size[1] // 8)


def test_what_comes_back_is_the_picture(photo, codecs):
    sizes = [(8, 8), (8, 100), (61, 40), OWN, (5, 3), (200, 301)]
    for channels, codec in codecs.items():
        images = [cut(photo, size, channels, 100) for size in sizes]
        decoded = codec.decompress(codec.compress(images, level=2))
        lost = [mse(*pair) / (pair[0] / 255).var() for pair in zip(images, decoded, strict=True)]
        assert max(lost) < 1
        assert lost[-1] < 0.2


def test_the_smallest_and_the_largest_sides_are_accepted(codec):
    sizes = [(1, 1), (MIN_SIDE, MAX_SIDE), (MAX_SIDE, MIN_SIDE)]
    images = [np.full((*size, 3), 90, np.uint8) for size in sizes]
    assert [d.shape[:2] for d in codec.decompress(codec.compress(images))] == sizes


def refusal(codec: Codec, stream: bytes, profile: Profile) -> str:
    with pytest.raises(InvalidStreamError) as caught:
        codec.decompress([stream], profile=profile)
    return str(caught.value)


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("mode", [0, 13], ids=["model", "classical"])
@pytest.mark.parametrize(
    "size", [(65_536, 1), (1, 65_536), (20_000, 20_000), (2**21 - 1, 2**21 - 1)]
)
def test_a_shape_out_of_range_is_refused_before_any_work(codec, size, mode, profile):
    symbols = np.zeros((36, 1, 1), np.int16)
    stream = pack_frame(b"", symbols, codec.fingerprint, profile=profile, mode=mode, size=size)

    assert refusal(codec, stream, profile) == (
        f"a shape of {size[0]}x{size[1]}, but tiny-any accepts 1x1 to 65535x65535"
    )
    assert codec.num_pixels(parse_frame(stream, profile)) == 0


@pytest.mark.parametrize("profile", Profile)
def test_the_models_own_shape_is_refused_as_superfluous(photo, codec, profile):
    [plain] = codec.compress([cut(photo, OWN)], profile=profile, level=1)
    frame = parse_frame(plain, profile)
    [symbols] = codec.decode([frame])
    stream = pack_frame(
        frame.payload, symbols, codec.fingerprint, profile=profile, mode=1, size=OWN
    )
    assert refusal(codec, stream, profile) == "a shape where none is needed"


@pytest.mark.parametrize("profile", Profile)
def test_a_cut_shape_is_an_invalid_stream(photo, codec, profile):
    [stream] = codec.compress([cut(photo, (130, 200))], profile=profile)
    frame = parse_frame(stream, profile)
    check = len(frame.check)
    start = len(stream) - len(frame.payload) - check - 4  # two numbers of two bytes each
    for kept in range(4):
        cut_frame = stream[: start + kept] + stream[len(stream) - check :]
        assert refusal(codec, cut_frame, profile) == "the shape is malformed"


@pytest.mark.parametrize("changed", [(34, 40), (33, 39), (40, 33), (8, 8), OWN])
def test_a_frame_of_another_shape_than_its_images_is_corrupt(photo, codec, changed):
    profile = Profile.FILE
    [stream] = codec.compress([cut(photo, (33, 40))], profile=profile)
    frame = parse_frame(stream, profile)
    fake = np.zeros((36, 1, 1), np.int16)
    size = None if changed == OWN else changed
    other = pack_frame(frame.payload, fake, codec.fingerprint, profile=profile, mode=1, size=size)
    with pytest.raises((CorruptStreamError, InvalidStreamError)):
        codec.decompress([other[: -len(frame.check)] + frame.check])


def test_one_bad_frame_leaves_its_neighbours_alone(photo, codec):
    images = [cut(photo, size) for size in [(20, 20), OWN, (20, 20), (33, 40)]]
    parsed = [parse_frame(s, Profile.FILE) for s in codec.compress(images)]
    empty = pack_frame(
        b"", np.zeros((36, 3, 3), np.int16), codec.fingerprint, profile=Profile.FILE, size=(18, 18)
    )
    parsed.insert(2, parse_frame(empty, Profile.FILE))

    decoded = codec.decode(parsed)

    assert isinstance(decoded.pop(2), CorruptStreamError)
    expected = [codec.latent_shape(image.shape[:2]) for image in images]
    assert [symbols.shape for symbols in decoded] == expected


@pytest.mark.parametrize("profile", Profile)
def test_classical_frames_say_their_shapes_too(photo, codec, profile):
    images = [*mixed(photo), np.zeros((*OWN, 3), np.uint8)]

    made = compress_with(codec, images, Demand(lossless=True), profile=profile)

    for image, one in zip(images, made, strict=True):
        frame = parse_frame(one.stream, profile)
        assert frame.is_classical
        assert frame.size == (None if image.shape[:2] == OWN else image.shape[:2])
    decoded = codec.decompress([one.stream for one in made], profile=profile)
    assert all(np.array_equal(*pair) for pair in zip(images, decoded, strict=True))


def test_a_classical_frame_turned_on_its_side_is_corrupt(codec):
    flat = np.full((30, 20, 3), 77, np.uint8)
    [made] = compress_with(codec, [flat], Demand(lossless=True))
    frame = parse_frame(made.stream, Profile.FILE)
    turned = pack_frame(
        frame.payload,
        flat.reshape(20, 30, 3),
        codec.fingerprint,
        profile=Profile.FILE,
        mode=frame.mode,
        size=(20, 30),
    )
    assert codec.decompress([turned])[0].shape == (20, 30, 3)
    with pytest.raises(CorruptStreamError):
        codec.decompress([turned[:-4] + frame.check])


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize(
    "demand",
    [
        Demand(min_psnr_db=20),
        Demand(min_psnr_db=35),
        Demand(max_mse=0.02),
        Demand(max_mse=0.02, fallback=Fallback.NEVER),
        Demand(max_bytes=260),
        Demand(max_bytes=60),
        Demand(level=0),
        Demand(),
    ],
)
def test_demands_are_kept_for_images_of_every_size(photo, codec, demand, profile):
    images = mixed(photo)
    done = compress_with(codec, images, demand, profile=profile, reconstruct=True)
    made = [one for one in done if isinstance(one, Made)]
    kept = [image for image, one in zip(images, done, strict=True) if isinstance(one, Made)]
    decoded = codec.decompress([one.stream for one in made], profile=profile)

    assert made
    for image, one, picture in zip(kept, made, decoded, strict=True):
        assert np.array_equal(picture, one.reconstruction)
        assert one.mse == pytest.approx(mse(image, picture), rel=1e-6)
        assert demand.mse_bound is None or one.mse <= demand.mse_bound
        assert demand.max_bytes is None or len(one.stream) <= demand.max_bytes
        if one.symbols is not None:
            assert one.symbols.shape == codec.latent_shape(image.shape[:2])
    if demand.falls_back and demand.max_bytes is None:
        assert len(made) == len(images)
    for one in done:
        if isinstance(one, QualityUnreachableError):
            assert one.mse > (demand.mse_bound or 0)
            assert one.size_bytes > (demand.max_bytes or 0)


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ((65_536, 1, 3), "$"),
        ((1, 65_536, 3), "$"),
        ((8, 8, 1), "$"),
        ((16_384, 16_385, 3), ", of at most 268435456 pixels$"),
    ],
)
def test_images_that_are_not_accepted_are_refused(photo, codec, shape, area):
    image, got = np.broadcast_to(np.uint8(0), shape), "x".join(map(str, shape))
    words = f"got {got} .height x width x channels., accepted: 1x1x3 to 65535x65535x3{area}"
    with pytest.raises(WrongSizeError, match=words):
        codec.compress([cut(photo, OWN), image])
    for demand in (Demand(), Demand(lossless=True)):
        with pytest.raises(WrongSizeError, match=words):
            compress_with(codec, [cut(photo, OWN), image], demand)


def test_a_model_of_one_size_refuses_others(digits):
    codec = Codec(make_checkpoint("ae"))
    assert codec.sizes.is_one
    with pytest.raises(WrongSizeError, match=r"got 27x28x1 .*, accepted: 28x28x1$"):
        codec.compress([digits[0], digits[0][1:]])


@given(st.tuples(st.integers(1, 200_000), st.integers(1, 200_000)))
def test_the_nearest_and_the_scaled_size(size):
    nearest, scaled = RANGE.nearest(size), RANGE.scaled(size)

    assert nearest in RANGE
    assert (nearest == size) == (scaled == size) == (size in RANGE)
    assert max(scaled) <= MAX_SIDE
    if max(size) <= 100 * min(size):
        assert scaled in RANGE
        ratio = (scaled[0] / size[0]) / (scaled[1] / size[1])
        assert abs(ratio - 1) <= 2 / min(scaled)


def test_the_range_of_one_size():
    one = SizeRange(least=(28, 20), most=(28, 20))
    assert one.nearest((5, 900)) == (28, 20)
    assert one.scaled((56, 40)) == (28, 20)
    assert one.scaled((56, 20)) == (28, 10)
    assert one.scaled((7, 5)) == (28, 20)
    assert (str(one), str(RANGE)) == ("28x20", "1x1 to 65535x65535")
    refused = ShapeRange(one, 1).wrong((16_384, 16_385, 1))
    assert str(refused).endswith("accepted: 28x20x1")  # and nothing of how many pixels


@pytest.mark.parametrize("side", [32, 300])  # each by another runtime
@pytest.mark.parametrize("kind", ["float32", "float64", "int16", "uint16", "bool"])
def test_pixels_that_are_not_uint8_are_refused(codec, side, kind):
    image = np.ones((side, side, 3), kind)
    refused = f"got pixels of {kind}, accepted: uint8"
    with pytest.raises(UnsupportedImageError, match=refused):
        codec.compress([image])
    for demand in (Demand(), Demand(lossless=True)):
        with pytest.raises(UnsupportedImageError, match=refused):
            compress_with(codec, [image], demand)


@pytest.mark.parametrize("shape", [OWN, (1, *OWN, 3)])
def test_pixels_without_the_three_axes_are_of_a_wrong_size(codec, shape):
    with pytest.raises(WrongSizeError, match=f"got {'x'.join(map(str, shape))} "):
        codec.compress([np.zeros(shape, np.uint8)])


def test_many_images_go_in_parts(codec, photo, monkeypatch):
    images = [cut(photo, OWN, at=at) for at in range(0, 160, 20)]
    sizes = []

    def counted(transform):
        def run(batch, levels):
            sizes.append(len(batch))
            return transform(batch, levels)

        return run

    monkeypatch.setattr("kompakt_codec.grouping._MOST_PIXELS", 3 * OWN[0] * OWN[1])
    for name in ("analyse", "synthesise"):
        monkeypatch.setattr(codec, name, counted(getattr(codec, name)))
    streams = codec.compress(images)
    decoded = codec.decompress(streams)
    assert sizes == 2 * [3, 3, 2]
    for stream, pixels in zip(streams, decoded, strict=True):
        alone = codec.decompress([stream])[0]
        assert np.abs(pixels.astype(int) - alone).max() <= 1
