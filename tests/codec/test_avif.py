"""AVIF in the frames of images: only where a thorough contest is asked for."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from kompakt_codec.baselines import encode_at_mse
from kompakt_codec.classical import avif_body, decode_classical, encode_classical_avif
from kompakt_codec.codec import Codec
from kompakt_codec.errors import CorruptStreamError, InvalidStreamError, StreamError
from kompakt_codec.frame import Profile, parse_frame
from kompakt_codec.images import Pixels
from kompakt_codec.metrics import mse
from kompakt_codec.quality import Demand, Fallback, Made, compress_with
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
    framing = codec.framing_bytes(photo.shape[:2], profile=profile)
    assert len(made.stream) <= len(avif.data) + 1 + framing
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


def file_of(size: tuple[int, int], image_format: str = "AVIF") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (9, 99, 200)).save(buffer, image_format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("file", "error", "message"),
    [
        (b"", CorruptStreamError, "avif"),
        (file_of((40, 40))[:150], CorruptStreamError, "avif"),
        (file_of((40, 40), "WEBP"), CorruptStreamError, "avif"),
        (file_of((40, 30)), InvalidStreamError, "an AVIF file of 30x40, not 40x40"),
        (file_of((4000, 4000)), InvalidStreamError, "an AVIF file of 4000x4000"),
    ],
)
def test_what_is_no_avif_file_of_the_shape_is_a_typed_error(file, error, message):
    with pytest.raises(error, match=message):
        decode_classical(14, b"\x04" + file, (40, 40, 3))


def test_a_body_says_its_error(photo):
    file = file_of((120, 96))
    assert avif_body(file, photo).mse == pytest.approx(
        mse(photo, decode_classical(14, b"\x04" + file, photo.shape))
    )
