"""A camera's photograph there and back: metadata on request, upright pixels, sRGB."""

import io

import grpc
import numpy as np
import pytest
from PIL import ExifTags, Image

from kompakt.v1 import compression_pb2 as pb
from kompakt_client import Client
from kompakt_client.cli import main
from kompakt_codec.envelope import split_envelope
from kompakt_codec.frame import MAGIC
from kompakt_codec.images import decode_image
from kompakt_codec.models import ImageSpec
from tests.codec.icc_profiles import ADOBE_RGB, rgb_profile
from tests.service.support import failure, raw
from tests.support import make_any_size_checkpoint

Base, IFD = ExifTags.Base, ExifTags.IFD
XMP = b"<x:xmpmeta>caf\xc3\xa9</x:xmpmeta>"
FORMATS = [pb.IMAGE_FORMAT_PNG, pb.IMAGE_FORMAT_JPEG, pb.IMAGE_FORMAT_WEBP]


def camera_jpeg() -> bytes:
    """40 rows by 56 columns, stored on its side, in a colour space wider than sRGB."""
    exif = Image.Exif()
    exif[Base.Make] = "Maker"
    exif[Base.Orientation] = 6
    exif[IFD.Exif] = {Base.ISOSpeedRatings: 200, Base.ColorSpace: 65535}
    rows, columns = np.mgrid[:56, :40].astype(np.uint8)
    picture = np.stack([4 * rows, 6 * columns, 100 + rows], axis=2)
    file = io.BytesIO()
    profile = rgb_profile(ADOBE_RGB, 2.19921875)
    options = {"exif": exif, "xmp": XMP, "icc_profile": profile, "subsampling": 0}
    Image.fromarray(np.rot90(picture)).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


JPEG = camera_jpeg()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    directory = tmp_path_factory.mktemp("any-size")
    spec = ImageSpec(height=32, width=32, channels=3)
    make_any_size_checkpoint(spec=spec).save(directory / "tiny-any.safetensors")
    return directory


def compress(compression, image: pb.Image, **options) -> pb.CompressResult:
    options = pb.CompressOptions(**options)
    return compression.Compress(pb.CompressRequest(images=[image], options=options)).results[0]


def decompress(compression, stream: bytes, image_format) -> pb.Image:
    request = pb.DecompressRequest(
        streams=[pb.CompressedImage(data=stream)],
        options=pb.DecompressOptions(format=image_format),
    )
    return compression.Decompress(request).results[0].image


def check_metadata(file: bytes) -> None:
    with Image.open(io.BytesIO(file)) as image:
        exif = image.getexif()
        assert image.size == (40, 56)
        assert (exif[Base.Make], exif[Base.Orientation]) == ("Maker", 1)
        assert exif.get_ifd(IFD.Exif) == {Base.ISOSpeedRatings: 200, Base.ColorSpace: 1}
        image.load()
        assert image.info["xmp"] == XMP
        assert "icc_profile" not in image.info


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("quality", [{"lossless": True}, {"fallback": pb.FALLBACK_NEVER}])
def test_metadata_goes_through_a_model_and_a_classical_codec(compression, quality, image_format):
    result = compress(compression, pb.Image(encoded=JPEG), keep_metadata=True, **quality)

    file = decompress(compression, result.stream.data, image_format).encoded

    assert (result.codec == "tiny-any") == ("fallback" in quality)
    check_metadata(file)
    if "lossless" in quality and image_format != pb.IMAGE_FORMAT_JPEG:
        np.testing.assert_array_equal(decode_image(file), decode_image(JPEG))


def test_the_frame_is_the_same_and_the_envelope_is_counted(compression):
    kept = compress(compression, pb.Image(encoded=JPEG), keep_metadata=True)
    dropped = compress(compression, pb.Image(encoded=JPEG))

    envelope, frame = split_envelope(kept.stream.data)

    assert envelope is not None
    assert frame == dropped.stream.data
    assert dropped.metadata_bytes == 0
    assert kept.metadata_bytes == kept.size_bytes - dropped.size_bytes > 0


def test_raw_pixels_of_an_enveloped_stream_come_alone(compression):
    kept = compress(compression, pb.Image(encoded=JPEG), keep_metadata=True)
    dropped = compress(compression, pb.Image(encoded=JPEG))

    images = [
        decompress(compression, result.stream.data, pb.IMAGE_FORMAT_RAW)
        for result in (kept, dropped)
    ]

    assert images[0] == images[1]


def test_what_has_no_metadata_gets_no_envelope(compression):
    result = compress(compression, raw(np.zeros((9, 9, 3), np.uint8)), keep_metadata=True)

    assert result.metadata_bytes == 0
    assert result.stream.data.startswith(MAGIC)


def test_an_embedded_frame_keeps_none(compression):
    def call():
        options = {"keep_metadata": True, "profile": pb.FRAME_PROFILE_EMBEDDED}
        return compress(compression, pb.Image(encoded=JPEG), **options)

    assert failure(call) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


def test_damaged_envelopes_are_typed_errors(compression):
    stream = compress(compression, pb.Image(encoded=JPEG), keep_metadata=True).stream.data
    envelope, frame = split_envelope(stream)
    opening = len(stream) - len(frame)
    known = {"INVALID_STREAM", "CORRUPT_STREAM", "UNSUPPORTED_VERSION"}
    damaged = [stream[:length] for length in range(0, opening, 7)]
    damaged += [
        stream[:at] + bytes([stream[at] ^ 1 << at % 8]) + stream[at + 1 :]
        for at in range(0, opening, 5)
    ]

    streams = [pb.CompressedImage(data=data) for data in [*damaged, stream]]
    request = pb.DecompressRequest(
        streams=streams, options=pb.DecompressOptions(format=pb.IMAGE_FORMAT_PNG)
    )
    *failed, sound = compression.Decompress(request).results

    assert envelope is not None
    assert sound.status.code == 0
    for result in failed:
        assert result.status.code != 0
        assert any(word.encode() in result.status.SerializeToString() for word in known)


def test_depth_and_transparency_are_given_up_only_with_fit(compression):
    file = io.BytesIO()
    Image.fromarray(np.full((9, 9), 40000, np.uint16)).save(file, "PNG")
    deep = pb.Image(encoded=file.getvalue())

    assert failure(lambda: compress(compression, deep)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "UNSUPPORTED_IMAGE",
    )
    result = compress(compression, deep, fit=pb.FIT_CONTAIN, lossless=True)
    assert result.fitted
    back = decompress(compression, result.stream.data, pb.IMAGE_FORMAT_RAW).raw.data
    assert set(back) == {156}  # 40000 / 257 is 155.6


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_the_command_keeps_metadata_on_request(server, tmp_path, monkeypatch, suffix):
    monkeypatch.setenv("KOMPAKT_TARGET", f"127.0.0.1:{server.port}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.jpg").write_bytes(JPEG)

    assert main(["compress", "--keep-metadata", "cat.jpg", "-o", "cat.kpt"]) == 0
    assert main(["decompress", "cat.kpt", "-o", f"back{suffix}"]) == 0

    check_metadata((tmp_path / f"back{suffix}").read_bytes())


def test_the_sdk_keeps_metadata_on_request(server, tmp_path):
    with Client(f"127.0.0.1:{server.port}") as client:
        made = client.compress(JPEG, keep_metadata=True)
        plain = client.compress(JPEG)
        many = [one.unwrap() for one in client.compress_many([JPEG], keep_metadata=True)]
        client.decompress_to(made, tmp_path / "back.png")

    assert made.metadata_bytes == made.num_bytes - plain.num_bytes > 0
    assert many[0].data == made.data
    check_metadata((tmp_path / "back.png").read_bytes())
