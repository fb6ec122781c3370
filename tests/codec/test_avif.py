"""AVIF in the frames of images: only where a thorough contest is asked for."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from kompakt_codec.baselines import BASELINES, LossyBaseline, encode_at_mse
from kompakt_codec.classical import decode_classical, encode_classical_avif
from kompakt_codec.classical._avif import strip_avif
from kompakt_codec.codec import Codec
from kompakt_codec.errors import (
    BaselineUnavailableError,
    CorruptStreamError,
    InvalidStreamError,
    StreamError,
)
from kompakt_codec.frame import Profile, parse_frame
from kompakt_codec.images import Pixels
from kompakt_codec.interruption import interruptible
from kompakt_codec.metrics import mse
from kompakt_codec.quality import Demand, Fallback, Made, compress_with
from kompakt_codec.quality._avif import best_with_avif
from tests.support import ImageSpec, make_any_size_checkpoint

THOROUGH = Fallback.THOROUGH


@pytest.fixture(scope="module")
def photo() -> Pixels:
    """A piece of a photograph, uint8 (96, 120, 3)."""
    return np.ascontiguousarray(load_sample_images().images[1][150:246, 200:320])


@pytest.fixture(scope="module")
def codec() -> Codec:
    """Of a model that knows nothing, for RGB images of any size."""
    return Codec(make_any_size_checkpoint(spec=ImageSpec(height=16, width=24, channels=3)))


@pytest.mark.parametrize("profile", Profile)
def test_avif_wins_where_it_is_smallest_and_comes_back(codec, photo, profile):
    demand = Demand(max_mse=0.0005, fallback=THOROUGH)
    [made] = compress_with(codec, [photo], demand, profile=profile, reconstruct=True)
    [quick] = compress_with(codec, [photo], Demand(max_mse=0.0005), profile=profile)
    avif = encode_at_mse("avif", photo, 0.0005)

    assert isinstance(made, Made)
    assert isinstance(quick, Made)
    assert avif is not None
    assert made.codec == "avif"
    assert len(made.stream) < len(quick.stream)
    assert len(made.stream) < len(avif.data) - 200
    assert made.mse == mse(photo, made.reconstruction) <= 0.0005
    decoded, name = codec.decode_classical(parse_frame(made.stream, profile))
    assert name == "avif"
    np.testing.assert_array_equal(decoded, made.reconstruction)


def test_within_bytes_the_better_of_all_is_taken(codec, photo):
    [thorough] = compress_with(codec, [photo], Demand(max_bytes=3000, fallback=THOROUGH))
    [quick] = compress_with(codec, [photo], Demand(max_bytes=3000))
    [tiny] = compress_with(codec, [photo], Demand(max_bytes=200, fallback=THOROUGH))

    assert isinstance(thorough, Made)
    assert isinstance(quick, Made)
    assert thorough.codec == "avif"
    assert len(thorough.stream) <= 3000
    assert thorough.mse < quick.mse
    assert not isinstance(tiny, Made) or tiny.codec != "avif"


def test_where_avif_is_of_no_use_nothing_changes(codec, photo):
    flat = np.full_like(photo, 90)
    for pixels, demand in ((flat, {"max_mse": 0.001}), (photo, {"lossless": True})):
        [thorough] = compress_with(codec, [pixels], Demand(**demand, fallback=THOROUGH))
        [quick] = compress_with(codec, [pixels], Demand(**demand))
        assert isinstance(thorough, Made)
        assert isinstance(quick, Made)
        assert thorough.stream == quick.stream


def test_the_check_covers_the_file_whatever_a_library_makes_of_its_colours(codec, photo):
    body = encode_classical_avif(photo, 0.001)
    assert body is not None
    other = photo ^ 1
    streams = {
        codec.pack(body.payload, pixels, body.mode, photo.shape[:2], profile=Profile.FILE)
        for pixels in (photo, other)
    }
    [stream] = streams
    for position in range(len(stream) - len(body.payload) - 4, len(stream), 29):
        changed = bytearray(stream)
        changed[position] ^= 16
        with pytest.raises(StreamError):
            codec.decode_classical(parse_frame(bytes(changed), Profile.FILE))


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_rgb_files_give_their_pixels(photo, channels):
    pixels = np.ascontiguousarray(photo[..., :channels])
    body = encode_classical_avif(pixels, 0.0004)
    assert body is not None
    decoded = decode_classical(body.mode, body.payload, pixels.shape)
    assert mse(pixels, decoded) == body.mse <= 0.0004


def stripped(size: tuple[int, int], **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (9, 99, 200)).save(buffer, "AVIF", **options)
    return strip_avif(buffer.getvalue())


OWN = stripped((40, 40))


@pytest.mark.parametrize(
    ("obus", "message"),
    [
        (b"", "0 AV1 frames and 0 headers"),
        (OWN + OWN, "2 AV1 frames and 2 headers"),
        (OWN[:-1], "longer than the payload"),
        (OWN[:2], "0 AV1 frames"),
        (stripped((40, 30)), "an AV1 picture of 30x40, not 40x40"),
        (stripped((4000, 4000)), "an AV1 picture of 4000x4000"),
        (stripped((40, 40), subsampling="4:2:2"), "not an AV1 still picture of 8 bits"),
        (b"\x10" + OWN, "without its size"),
        (b"\x2a\x00" + OWN, "type 5"),
        (b"\x12\xff\xff\xff\xff\xff", "size of an AV1 unit is malformed"),
        (b"\x0a\x00\x32\x00", "not an AV1 still picture"),
    ],
)
def test_what_is_no_still_picture_of_the_shape_is_refused(obus, message):
    with pytest.raises(InvalidStreamError, match=message):
        decode_classical(14, b"\x04" + obus, (40, 40, 3))


def test_a_picture_is_grey_where_the_image_is():
    buffer = io.BytesIO()
    Image.new("L", (40, 40), 99).save(buffer, "AVIF")
    grey = strip_avif(buffer.getvalue())
    pixels = decode_classical(14, b"\x04" + grey, (40, 40, 1))
    np.testing.assert_allclose(pixels, np.full((40, 40, 1), 99), atol=1)
    with pytest.raises(InvalidStreamError, match="an AV1 picture in colour for a grey image"):
        decode_classical(14, b"\x04" + OWN, (40, 40, 1))
    with pytest.raises(InvalidStreamError, match="in colour for a grey image"):
        decode_classical(14, b"\x04" + stripped((40, 40), subsampling="4:4:4"), (40, 40, 1))
    with pytest.raises(InvalidStreamError, match="an AV1 picture in grey for a colour image"):
        decode_classical(14, b"\x04" + grey, (40, 40, 3))


def test_a_picture_of_no_sense_is_a_typed_error():
    header = OWN[: OWN.index(b"\x32")]
    with pytest.raises(CorruptStreamError, match="avif"):
        decode_classical(14, b"\x04" + header + b"\x32\x03abc", (40, 40, 3))


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_damaged_pictures_are_pixels_or_a_typed_error(data):
    obus = bytearray(OWN)
    for _ in range(data.draw(st.integers(1, 4))):
        obus[data.draw(st.integers(0, len(obus) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode_classical(14, b"\x04" + bytes(obus), (40, 40, 3))
    except StreamError:
        return
    assert pixels.shape == (40, 40, 3)


@pytest.mark.parametrize("variant", ["4:2:0", "4:4:4"])
def test_the_restored_file_decodes_as_the_library_s_own(photo, variant):
    baseline = BASELINES["avif"]
    assert isinstance(baseline, LossyBaseline)
    file = baseline.encode(photo, 70, variant)
    own = baseline.decode(file, photo.shape)
    restored = decode_classical(14, b"\x04" + strip_avif(file), photo.shape)
    np.testing.assert_array_equal(restored, own)


def test_images_longer_than_avif_holds_are_contested_without_it():
    wide = np.full((16, 33_000, 3), 60, np.uint8)
    assert best_with_avif(wide, 1 << 20, 0.1, None, max_payload=None) is None
    assert encode_at_mse("avif", wide, 0.1) is None


def test_a_pillow_without_avif_is_told_before_any_work(codec, photo, monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda feature: feature != "avif")
    with pytest.raises(BaselineUnavailableError, match="AVIF"):
        compress_with(codec, [photo], Demand(fallback=THOROUGH))
    assert isinstance(compress_with(codec, [photo], Demand())[0], Made)


@pytest.mark.parametrize(
    "demand",
    [
        Demand(max_mse=0.0005, fallback=THOROUGH),
        Demand(max_bytes=3000, fallback=THOROUGH),
        Demand(min_psnr_db=32),
        Demand(lossless=True),
    ],
)
def test_a_search_stops_when_nobody_waits(codec, photo, demand):
    class GoneError(Exception):
        pass

    looks = 0

    def check() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise GoneError

    with interruptible(check), pytest.raises(GoneError):
        compress_with(codec, [photo], demand)
    assert looks == 3
    assert isinstance(compress_with(codec, [photo], demand)[0], Made)
