"""The methods of both clients, against the fake server."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from kompakt.v1 import compression_pb2 as pb
from kompakt_client import (
    Compressed,
    Failure,
    InvalidImageError,
    InvalidStreamError,
    MessageTooLargeError,
    ServerError,
    UnavailableError,
    UnknownModelError,
    WrongSizeError,
)
from tests.client.conftest import pixels
from tests.client.fake_codec import FINGERPRINT, HEADER, stored
from tests.client.fake_server import Fault, grpc


def test_an_image_comes_back(client, image):
    compressed = client.compress(image, model="fake-vae")
    decompressed = client.decompress(compressed)

    assert np.array_equal(decompressed.to_numpy(), image)
    assert compressed.num_bytes == HEADER.size + 28 * 28
    assert compressed.bits_per_pixel == pytest.approx(8 * compressed.num_bytes / 28**2)
    assert (compressed.height, compressed.width, compressed.channels) == (28, 28, 1)
    assert (compressed.model, compressed.fingerprint) == ("fake-vae", FINGERPRINT)
    assert (compressed.codec, compressed.level) == ("fake-vae", 0)
    assert decompressed.codec == "fake-ae"
    assert not compressed.fitted
    assert compressed.timings.transform == 0.25
    assert compressed.latents is compressed.reconstruction is compressed.mse is None


def test_latents_and_reconstruction_are_returned_if_asked_for(client, image):
    compressed = client.compress(image, latents=True, reconstruction=True)

    assert compressed.latents.tolist() == [[[-300]], [[0]], [[7]]]
    assert np.array_equal(compressed.reconstruction, image)
    assert compressed.mse == 0.0
    assert compressed.psnr_db is None


def test_one_image_raises_its_error(client):
    with pytest.raises(WrongSizeError, match="at most 64 rows, not 100") as caught:
        client.compress(pixels(1, height=100))

    assert caught.value.code == "INVALID_ARGUMENT"
    assert caught.value.reason == "WRONG_SIZE"
    assert caught.value.metadata == {"why": "test"}


def test_a_bad_image_of_a_batch_leaves_its_neighbours(client):
    first, bad, last = client.compress_batch([pixels(1), b"no image", pixels(2)])

    assert np.array_equal(client.decompress(first.unwrap()).to_numpy(), pixels(1))
    assert np.array_equal(client.decompress(last).to_numpy(), pixels(2))
    assert isinstance(bad, Failure)
    assert bad.index == 1
    with pytest.raises(InvalidImageError, match="not an image"):
        bad.unwrap()


def test_the_only_image_of_a_batch_fails_as_one_of_many_does(client):
    [bad] = client.compress_batch([b"no image"])

    assert isinstance(bad, Failure)
    assert isinstance(bad.error, InvalidImageError)


def test_a_batch_raises_what_is_no_fault_of_an_item(client, fake, image):
    fake.faults.append(Fault(grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL"))

    with pytest.raises(UnknownModelError):
        client.compress_batch([image])


def test_an_empty_batch_makes_no_call(client, fake):
    assert client.compress_batch([]) == ()
    assert client.decompress_batch([]) == ()
    assert client.evaluate([]).images == ()
    assert fake.calls == []


@pytest.mark.parametrize(
    "one",
    [
        "digit.png",
        b"bytes",
        bytearray(b"bytes"),
        io.BytesIO(b"lines\nof\na file"),
        Image.new("L", (2, 2)),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 3), np.uint8),  # whose rows would be 8 images of 8x3
    ],
)
def test_one_item_is_no_batch(client, one):
    with pytest.raises(TypeError, match=r"put the one .* in a list"):
        client.compress_batch(one)


def test_an_array_of_images_is_a_batch(client):
    results = client.compress_batch(np.zeros((5, 4, 2), np.uint8))

    assert [(result.height, result.width) for result in results] == [(4, 2)] * 5


def test_a_long_batch_is_split_by_count(client, fake):
    images = [pixels(seed, 2, 2) for seed in range(600)]

    results = client.compress_batch(images)

    assert [len(request.images) for request in fake.requests] == [256, 256, 88]
    assert stored(results) == [i.tobytes() for i in images]


def test_a_heavy_batch_is_split_by_bytes(client, fake):
    images = [pixels(seed, 64, 65536) for seed in range(3)]

    results = client.compress_batch(images)

    assert [len(request.images) for request in fake.requests] == [1, 1, 1]
    assert all(isinstance(result, Compressed) for result in results)


def test_a_batch_over_the_servers_own_limit_is_split_further(client, fake):
    fake.max_images = 5

    results = client.compress_batch([*(pixels(seed) for seed in range(11)), b"bad"])

    assert [type(result) for result in results] == [Compressed] * 11 + [Failure]
    assert results[11].index == 11
    assert np.array_equal(client.decompress(results[7]).to_numpy(), pixels(7))


def test_an_answer_over_the_message_limit_is_asked_for_in_parts(client, fake):
    streams = client.compress_batch([pixels(seed) for seed in range(6)])
    big = client.compress(pixels(6, 60, 60))
    fake.max_answer_pixels = 2 * 28 * 28

    results = client.decompress_batch([*streams, big])

    assert all(np.array_equal(r.to_numpy(), pixels(i)) for i, r in enumerate(results[:6]))
    assert isinstance(results[6].error, MessageTooLargeError)


def test_one_answer_of_which_a_server_says_that_it_is_too_many_fails_alone(client, fake):
    small, big = client.compress(pixels(1)), client.compress(pixels(2, 60, 60))
    fake.max_answer_pixels = 2 * 28 * 28
    fake.large_answer = Fault(grpc.StatusCode.INVALID_ARGUMENT, "TOO_MANY_IMAGES")

    results = client.decompress_batch([small, big, small])

    assert results[1].index == 1
    assert results[1].error.reason == "TOO_MANY_IMAGES"
    assert all(np.array_equal(results[n].to_numpy(), pixels(1)) for n in (0, 2))


def test_a_message_over_the_clients_limit_is_an_error(make_client):
    client = make_client(max_message_bytes=100_000)
    image = pixels(1, 64, 65536)
    told = r"a message of 4194\d\d\d bytes is over the client's limit of 100000 bytes"

    with pytest.raises(MessageTooLargeError, match=told):
        client.compress(image)
    [failure] = client.compress_many([image])
    assert isinstance(failure.error, MessageTooLargeError)
    assert re.fullmatch(told, str(failure.error))


def test_a_message_over_the_servers_limit_is_an_error(make_client):
    client = make_client(max_message_bytes=1 << 30)
    told = r"a message of 700000\d\d bytes is over the server's limit of 67108864 bytes"

    with pytest.raises(MessageTooLargeError, match=told):
        client.compress(bytes(70_000_000))


def test_an_answer_over_the_clients_limit_is_an_error(make_client, image):
    stream = make_client().compress(image)
    told = r"a message of \d+ bytes is over the client's limit of 820 bytes"

    with pytest.raises(MessageTooLargeError, match=told):
        make_client(max_message_bytes=820).decompress(stream)


@pytest.mark.parametrize(("image_format", "name"), [("png", "PNG"), ("webp", "WEBP")])
def test_decompress_to_a_file_format(client, image, image_format, name):
    decompressed = client.decompress(client.compress(image), format=image_format)

    opened = Image.open(io.BytesIO(decompressed.data))
    assert opened.format == name
    assert decompressed.format == image_format
    with pytest.raises(ValueError, match=f"this image is a {image_format} file"):
        decompressed.to_numpy()


def test_decompress_to_writes_the_format_of_the_suffix(client, image, tmp_path):
    path = client.decompress_to(client.compress(image), tmp_path / "back.TIF")

    assert np.array_equal(np.asarray(Image.open(path))[..., None], image)


def test_decompress_to_refuses_a_suffix_before_it_calls(client, fake, tmp_path):
    with pytest.raises(ValueError, match=r"cannot tell the format from '.gif'"):
        client.decompress_to(b"FAKE", tmp_path / "back.gif")

    assert fake.calls == []


def test_a_compressed_image_brings_its_model_profile_and_check(client, fake, image):
    compressed = client.compress(image, model="fake-vae", profile="embedded")

    client.decompress(compressed)

    request = fake.requests[-1]
    assert request.options.model == "fake-vae@f1f1f1f1"
    assert request.options.profile == pb.FRAME_PROFILE_EMBEDDED
    assert request.streams[0].crc32c == compressed.crc32c


def test_a_file_names_its_own_model(client, fake, image):
    client.decompress(client.compress(image, model="fake-vae"))

    assert fake.requests[-1].options.model == ""


def test_streams_of_different_models_go_in_requests_of_their_own(client, fake, image):
    kinds = [("fake-ae", "embedded"), ("fake-ae", "embedded"), ("fake-vae", "embedded")]
    streams = [client.compress(image, model=model, profile=profile) for model, profile in kinds]

    results = client.decompress_batch([*streams, streams[0].data])

    assert [result.model for result in results] == ["fake-ae", "fake-ae", "fake-vae", "fake-ae"]
    assert [len(request.streams) for request in fake.requests[3:]] == [2, 1, 1]


def test_a_broken_stream_is_a_failure(client, image):
    good = client.compress(image)

    results = client.decompress_batch([good, b"", good])

    assert isinstance(results[1].error, InvalidStreamError)
    assert np.array_equal(results[2].unwrap().to_numpy(), image)


def test_models_are_described(client):
    default, other = client.models()

    assert default == client.model() == client.model("fake-ae")
    assert default.is_default
    assert default.latent_shape == (16, 1, 1)
    assert default.accepted_sizes[0].max_height == 28
    assert default.measured.bytes_per_image == 56.5
    assert default.training.dataset == "digits train"
    assert other.measured is None
    assert other.training is None
    assert (default.levels, default.default_level) == (2, 1)
    assert [point.bytes_per_image for point in default.curve] == [20.5, 56.5]
    assert (other.levels, other.curve) == (1, ())


def test_an_unknown_model_is_an_error(client):
    with pytest.raises(UnknownModelError):
        client.model("nobody")


def test_the_server_is_described(client):
    info = client.server_info()

    assert (info.version, info.device, info.max_images) == ("0.1.0", "cpu", 1024)
    assert info.image_formats == ("PNG", "JPEG")


def test_a_missing_result_is_the_servers_fault(client, monkeypatch, image):
    from tests.client import fake_server

    monkeypatch.setattr(fake_server.Compression, "_answer", lambda *_: [pb.CompressResult()] * 3)

    with pytest.raises(ServerError, match=r"breaks the contract: 3 results for 1 item$"):
        client.compress(image)


def test_wait_ready_waits_for_the_server(client, fake):
    fake.faults += [Fault(grpc.StatusCode.UNAVAILABLE)] * 6

    client.wait_ready(timeout=20)

    assert fake.num_calls("GetServerInfo") == 7


def test_wait_ready_gives_up(make_client):
    client = make_client(target="127.0.0.1:1")

    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1: not ready within 0\.3 s"):
        client.wait_ready(timeout=0.3)


def test_a_closed_client_says_so(client, image):
    client.compress(image)
    if hasattr(client, "aclose"):
        client.aclose()
    else:
        client.close()

    with pytest.raises(RuntimeError, match="the client is closed"):
        client.compress(image)
