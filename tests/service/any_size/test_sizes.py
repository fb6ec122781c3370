"""Models of any size behind a real server, through the wire and through the client."""

import time

import grpc
import numpy as np
import pytest

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_client import Client, DeadlineExceededError, Failure, WrongSizeError
from kompakt_codec.baselines import _codecs, _measure
from kompakt_codec.classical import _deflate
from kompakt_codec.frame import Profile, pack_frame
from kompakt_codec.interruption import check_interruption
from kompakt_codec.metrics import mse, psnr_db
from kompakt_service import compressing
from tests.service.support import encoded, failure, item_failure

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def pixels_of(image: pb.RawImage) -> np.ndarray:
    return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, image.channels)


@pytest.mark.parametrize("profile", Profile)
def test_one_request_holds_images_of_many_sizes(compression, codec, images, profile):
    wire = {Profile.FILE: pb.FRAME_PROFILE_FILE, Profile.EMBEDDED: pb.FRAME_PROFILE_EMBEDDED}
    options = pb.CompressOptions(
        profile=wire[profile],
        fallback=pb.FALLBACK_NEVER,
        return_latents=True,
        return_reconstruction=True,
    )
    sent = [encoded(image) for image in images]

    made = compression.Compress(pb.CompressRequest(images=sent, options=options)).results

    assert [(r.height, r.width, r.channels) for r in made] == [i.shape for i in images]
    assert [r.stream.data for r in made] == codec.compress(images, profile=profile)
    back = compression.Decompress(
        pb.DecompressRequest(
            streams=[r.stream for r in made],
            options=pb.DecompressOptions(model="any-rgb", profile=wire[profile]),
        )
    ).results
    for image, one, decoded in zip(images, made, back, strict=True):
        picture = pixels_of(decoded.image.raw)
        assert (decoded.height, decoded.width) == picture.shape[:2] == image.shape[:2]
        assert np.array_equal(picture, pixels_of(one.reconstruction))
        assert one.mse == pytest.approx(mse(image, picture), rel=1e-5)
        assert one.bits_per_pixel == pytest.approx(8 * one.size_bytes / picture[..., 0].size)
        assert tuple(one.latents.shape) == codec.latent_shape(image.shape[:2])


def test_a_contest_ends_soon_after_its_deadline(client, photo, monkeypatch):
    tries: list[float] = []

    def noted() -> None:
        check_interruption()
        tries.append(time.monotonic())

    for module in (_codecs, _measure, _deflate):
        monkeypatch.setattr(module, "check_interruption", noted)
    with pytest.raises(DeadlineExceededError):  # it would take seconds
        client.compress(photo[:128, :128], min_psnr_db=38, fallback="thorough", timeout=0.3)
    ended = time.monotonic()
    time.sleep(4)
    assert tries
    assert max(tries) < ended + 0.3


def test_a_thorough_contest_may_end_with_avif(client, photo):
    image = photo[200:300, 300:420]
    made = client.compress(image, min_psnr_db=34, fallback="thorough")
    quick = client.compress(image, min_psnr_db=34)
    back = client.decompress(made)

    assert made.codec == "avif"
    assert made.num_bytes < quick.num_bytes
    assert psnr_db(mse(image, back.to_numpy())) == pytest.approx(made.psnr_db, abs=0.01)
    assert made.psnr_db >= 34


@pytest.mark.parametrize("profile", ["file", "embedded"])
def test_the_client_streams_images_of_many_sizes(client, images, profile):
    options = {"model": "any-rgb", "profile": profile, "max_mse": 0.02}
    made = [one.unwrap() for one in client.compress_many(images, **options)]
    back = [one.unwrap() for one in client.decompress_many(made)]

    batch = [one.unwrap() for one in client.compress_batch(images, **options)]
    assert [one.data for one in made] == [one.data for one in batch]
    for image, decoded in zip(images, back, strict=True):
        assert decoded.to_numpy().shape == image.shape
        assert mse(image, decoded.to_numpy()) <= 0.02


def test_demands_are_kept_for_each_size(client, images):
    for demand in ({"min_psnr_db": 18}, {"lossless": True}, {"max_bytes": 4000}):
        made = client.compress_batch(images, **demand)
        back = client.decompress_batch([one.unwrap() for one in made])
        for image, one, decoded in zip(images, made, back, strict=True):
            error = mse(image, decoded.unwrap().to_numpy())
            assert psnr_db(error) >= demand.get("min_psnr_db", 0)
            assert error == 0 or "lossless" not in demand
            assert one.num_bytes <= demand.get("max_bytes", 10_000)


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (
            "any-grey",
            (9, 9, 3),
            "accepted: 1x1x1 to 65535x65535x1; name a model that takes it (any-rgb), or ask for it",
        ),
        ("tiny-vae", (30, 30, 1), "got 30x30x1 (height x width x channels), accepted: 28x28x1;"),
    ],
)
def test_a_wrong_size_is_told_with_those_that_are_right(client, photo, model, shape, words):
    image = np.resize(photo, shape)
    with pytest.raises(WrongSizeError) as caught:
        client.compress(image, model=model)
    assert words in str(caught.value)
    good = np.zeros((28, 28, 1), np.uint8)
    first, second = client.compress_batch([image, good], model=model)
    assert isinstance(first, Failure)
    assert isinstance(first.error, WrongSizeError)
    assert second.unwrap().height == 28


def test_a_wrong_size_is_told_with_the_models_that_take_it(client, photo):
    digit = np.zeros((28, 28, 1), np.uint8)
    refused = client.compress_batch([digit, photo[:40, :30]], model="tiny-vae")[1]
    assert isinstance(refused, Failure)
    words = "accepted: 28x28x1; name a model that takes it (any-rgb), or ask for it to be fitted"
    assert words in str(refused.error)


@pytest.mark.parametrize(
    ("size", "fit", "expected"),
    [
        ((7, 3), "contain", (7, 3)),
        ((3, 200), "cover", (3, 200)),
        ((1, 1), "stretch", (1, 1)),
        ((40, 50), "contain", (40, 50)),
    ],
)
def test_fit_makes_it_the_nearest_size(client, size, fit, expected):
    image = np.full((*size, 3), 200, np.uint8)
    made = client.compress(image, fit=fit, lossless=True)
    decoded = client.decompress(made).to_numpy()

    assert (made.height, made.width) == decoded.shape[:2] == expected
    assert made.fitted == (size != expected)
    assert (decoded == 200).all()


def test_a_frame_that_says_a_size_out_of_range_fails_alone(compression, codec, images):
    symbols = np.zeros((36, 1, 1), np.int16)
    huge = [
        pack_frame(b"", symbols, codec.fingerprint, profile=Profile.FILE, mode=mode, size=size)
        for mode in (0, 13)
        for size in ((2**21 - 1, 2**21 - 1), (65_536, 1))
    ]
    streams = [*huge[:2], *codec.compress(images[:2]), *huge[2:]]
    request = pb.DecompressRequest(streams=[pb.CompressedImage(data=data) for data in streams])

    results = compression.Decompress(request).results

    assert [bool(r.status.code) for r in results] == [True, True, False, False, True, True]
    for result in results:
        if result.status.code:
            assert item_failure(result.status) == (INVALID, "INVALID_STREAM")
            assert "any-rgb accepts 1x1 to 65535x65535" in result.status.message
    lone = pb.DecompressRequest(streams=request.streams[:1])
    assert failure(lambda: compression.Decompress(lone)) == (INVALID, "INVALID_STREAM")


def test_a_request_is_worked_on_in_parts_and_comes_back_whole(compression, images, monkeypatch):
    sent = [encoded(image) for image in images]
    sent.insert(2, pb.Image(encoded=b"no image"))
    request = pb.CompressRequest(images=sent, options=pb.CompressOptions(max_mse=0.02))
    whole = compression.Compress(request).results

    monkeypatch.setattr(compressing, "_PART_BYTES", 2000)
    parts = compression.Compress(request).results

    assert list(parts) == list(whole)
    assert [r.index for r in parts] == list(range(len(sent)))
    assert [bool(r.status.code) for r in parts] == [i == 2 for i in range(len(sent))]


def test_answers_over_the_message_limit_are_refused(serve, directory, photo):
    server = serve(models=directory, default_model="any-rgb", max_message_bytes=100_000)
    image = photo[:100, :150]  # 45,000 bytes of pixels, 17,784 of latents
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)

        def compress(count: int, **options: bool) -> pb.CompressResponse:
            options = pb.CompressOptions(fallback=pb.FALLBACK_NEVER, **options)
            images = [encoded(image)] * count
            return stub.Compress(pb.CompressRequest(images=images, options=options))

        def evaluate(count: int) -> pb.EvaluateResponse:
            options = pb.EvaluateOptions(
                models=["any-rgb"], skip_baselines=True, return_reconstructions=True
            )
            request = pb.EvaluateRequest(images=[encoded(image)] * count, options=options)
            return stub.Evaluate(request)

        assert too_many(lambda: compress(2, return_reconstruction=True, return_latents=True))
        assert too_many(lambda: compress(3, return_reconstruction=True))
        assert len(compress(2, return_reconstruction=True).results) == 2
        [one] = compress(1, return_reconstruction=True, return_latents=True).results
        assert len(one.latents.data) == 17_784
        assert len(evaluate(2).results) == 2
        assert too_many(lambda: evaluate(3))
        streams = [r.stream for r in compress(2).results]
        assert len(stub.Decompress(pb.DecompressRequest(streams=streams)).results) == 2
        request = pb.DecompressRequest(streams=[*streams, streams[0]])
        assert too_many(lambda: stub.Decompress(request))
    with Client(f"127.0.0.1:{server.port}") as client:
        made = client.compress_batch([image] * 5, reconstruction=True, latents=True)
        assert all(one.unwrap().reconstruction.shape == image.shape for one in made)
        back = client.decompress_batch([one.unwrap() for one in made])
        assert all(one.unwrap().to_numpy().shape == image.shape for one in back)


def too_many(call) -> bool:
    return failure(call) == (INVALID, "TOO_MANY_IMAGES")


def test_a_frame_of_more_pixels_than_the_limit_fails_alone(serve, directory, codec, images):
    server = serve(models=directory, default_model="any-rgb", max_image_pixels=10_000)
    symbols = np.zeros((36, 1, 1), np.int16)
    huge = pack_frame(b"", symbols, codec.fingerprint, profile=Profile.FILE, size=(65_535, 4_000))
    streams = [huge, *codec.compress(images[:1])]
    request = pb.DecompressRequest(streams=[pb.CompressedImage(data=data) for data in streams])
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        first, second = pb_grpc.CompressionServiceStub(channel).Decompress(request).results
    assert item_failure(first.status) == (INVALID, "IMAGE_TOO_LARGE")
    assert second.height == images[0].shape[0]


def test_images_that_the_default_does_not_accept_go_to_a_model_that_does(serve, directory, photo):
    server = serve(models=directory, default_model="tiny-vae")
    colour, grey, digit = photo[:30, :20], photo[:30, :20, :1], photo[:28, :28, :1]
    with Client(f"127.0.0.1:{server.port}") as client:
        made = {
            name: [client.compress(image).model, client.compress(to_png(image)).model]
            for name, image in (("colour", colour), ("grey", grey), ("digit", digit))
        }
        streamed = [one.unwrap().model for one in client.compress_many([colour, digit[:, :27]])]
        with pytest.raises(WrongSizeError, match="accepted: 28x28x1"):
            client.compress(colour, model="tiny-vae")
        assert client.compress(colour, model="tiny-vae", fit="contain").model == "tiny-vae"
        whole = client.compress(colour, fit="contain")
        bad, good = client.compress_batch([b"no image", to_png(colour)])
    assert (whole.model, whole.fitted, whole.height) == ("any-rgb", False, 30)
    assert isinstance(bad, Failure)
    assert good.unwrap().model == "any-rgb"
    assert made == {
        "colour": ["any-rgb"] * 2,
        "grey": ["any-grey"] * 2,
        "digit": ["tiny-vae"] * 2,
    }
    assert streamed == ["any-rgb"] * 2


def to_png(pixels: np.ndarray) -> bytes:
    return encoded(pixels).encoded
