"""Whatever comes from outside: a typed error, and a server that serves on."""

import grpc
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from tests.service.support import (
    details,
    encoded,
    failure,
    item_failure,
    png,
    png_header,
    raw,
    status_of,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT
GREY = np.zeros((28, 28, 1), np.uint8)
COLOUR = np.arange(28 * 28 * 3, dtype=np.uint16).astype(np.uint8).reshape(28, 28, 3)

BAD_IMAGES = {
    "nothing": (pb.Image(), INVALID, "INVALID_IMAGE"),
    "no bytes": (pb.Image(encoded=b""), INVALID, "INVALID_IMAGE"),
    "not an image": (pb.Image(encoded=b"#!/bin/sh\n" * 99), INVALID, "INVALID_IMAGE"),
    "a cut PNG": (pb.Image(encoded=png(GREY)[:-20]), INVALID, "INVALID_IMAGE"),
    "a huge header": (
        pb.Image(encoded=png_header(100_000, 100_000)),
        INVALID,
        "IMAGE_TOO_LARGE",
    ),
    "another size": (encoded(np.zeros((30, 30, 1), np.uint8)), INVALID, "WRONG_SIZE"),
    "colour": (encoded(COLOUR), INVALID, "WRONG_SIZE"),
    "transparency": (
        encoded(np.full((28, 28, 4), 100, np.uint8)),
        INVALID,
        "UNSUPPORTED_IMAGE",
    ),
    "raw of a wrong length": (
        pb.Image(raw=pb.RawImage(data=b"123", height=28, width=28)),
        INVALID,
        "INVALID_IMAGE",
    ),
    "raw without a shape": (pb.Image(raw=pb.RawImage(data=b"")), INVALID, "INVALID_IMAGE"),
    "raw of another type": (
        pb.Image(
            raw=pb.RawImage(data=bytes(2 * 784), height=28, width=28, data_type=pb.DATA_TYPE_INT16)
        ),
        INVALID,
        "UNSUPPORTED_IMAGE",
    ),
    "raw of a huge shape": (
        pb.Image(raw=pb.RawImage(data=b"", height=2**32 - 1, width=2**32 - 1)),
        INVALID,
        "IMAGE_TOO_LARGE",
    ),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_bad_image_alone_fails_the_call(compression, case):
    image, code, reason = BAD_IMAGES[case]
    for call, request in (
        (compression.Compress, pb.CompressRequest(images=[image])),
        (compression.Evaluate, pb.EvaluateRequest(images=[image])),
    ):
        assert failure(lambda c=call, r=request: c(r)) == (code, reason)


def test_bad_images_never_fail_their_neighbours(compression, digits):
    bad = [image for image, _, _ in BAD_IMAGES.values()]
    good = raw(digits[0])
    request = pb.CompressRequest(images=[good, *bad, good])

    response = compression.Compress(request)
    streamed = list(
        compression.StreamCompress(
            iter(
                [
                    pb.StreamCompressRequest(options=pb.CompressOptions(), images=[good]),
                    *(pb.StreamCompressRequest(images=[image]) for image in bad),
                    pb.StreamCompressRequest(images=[good]),
                ]
            )
        )
    )

    for results in (response.results, [r for message in streamed for r in message.results]):
        assert [r.index for r in results] == list(range(len(bad) + 2))
        assert results[0].stream.data == results[-1].stream.data != b""
        expected = [(code, reason) for _, code, reason in BAD_IMAGES.values()]
        assert [item_failure(r.status) for r in results[1:-1]] == expected
        assert all(r.size_bytes == 0 for r in results[1:-1])


@pytest.fixture(scope="module")
def stream(compression, digits):
    response = compression.Compress(pb.CompressRequest(images=[raw(digits[0])]))
    return response.results[0].stream.data


def bad_streams(stream: bytes) -> dict[str, tuple[bytes, grpc.StatusCode, str]]:
    flipped = stream[:8] + bytes([stream[8] ^ 0x80]) + stream[9:]
    return {
        "empty": (b"", INVALID, "INVALID_STREAM"),
        "foreign": (png(GREY), INVALID, "INVALID_STREAM"),
        "cut to its head": (stream[:9], INVALID, "INVALID_STREAM"),
        "cut by a byte": (stream[:-1], grpc.StatusCode.DATA_LOSS, "CORRUPT_STREAM"),
        "flipped": (flipped, grpc.StatusCode.DATA_LOSS, "CORRUPT_STREAM"),
        "longer": (stream + b"\0", grpc.StatusCode.DATA_LOSS, "CORRUPT_STREAM"),
        "far longer": (stream + bytes(1000), INVALID, "INVALID_STREAM"),
        "another model's": (
            stream[:4] + b"abcd" + stream[8:],
            grpc.StatusCode.FAILED_PRECONDITION,
            "MODEL_MISMATCH",
        ),
        "of another version": (
            stream[:3] + b"\x40" + stream[4:],
            grpc.StatusCode.UNIMPLEMENTED,
            "UNSUPPORTED_VERSION",
        ),
    }


CASES = tuple(bad_streams(bytes(40)))


@pytest.mark.parametrize("case", CASES)
def test_a_bad_stream_alone_fails_the_call(compression, stream, case):
    data, code, reason = bad_streams(stream)[case]
    request = pb.DecompressRequest(streams=[pb.CompressedImage(data=data)])
    assert failure(lambda: compression.Decompress(request)) == (code, reason)


def test_bad_streams_never_fail_their_neighbours(compression, stream):
    cases = bad_streams(stream)
    items = [stream, *(data for data, _, _ in cases.values()), stream]
    request = pb.DecompressRequest(streams=[pb.CompressedImage(data=data) for data in items])

    results = compression.Decompress(request).results

    assert results[0].image == results[-1].image
    assert results[0].height == 28
    expected = [(code, reason) for _, code, reason in cases.values()]
    assert [item_failure(r.status) for r in results[1:-1]] == expected


def test_a_stream_that_does_not_match_its_crc_is_corrupt(compression, stream):
    request = pb.DecompressRequest(streams=[pb.CompressedImage(data=stream, crc32c=1)])
    assert failure(lambda: compression.Decompress(request)) == (
        grpc.StatusCode.DATA_LOSS,
        "CORRUPT_STREAM",
    )


GOOD = raw(GREY)
BAD_REQUESTS = {
    "no images": ("Compress", pb.CompressRequest(), INVALID, "NO_IMAGES", "images"),
    "no streams": ("Decompress", pb.DecompressRequest(), INVALID, "NO_IMAGES", "streams"),
    "nothing to evaluate": ("Evaluate", pb.EvaluateRequest(), INVALID, "NO_IMAGES", "images"),
    "too many images": (
        "Compress",
        pb.CompressRequest(images=[pb.Image()] * 1025),
        INVALID,
        "TOO_MANY_IMAGES",
        "images",
    ),
    "unknown model": (
        "Compress",
        pb.CompressRequest(images=[GOOD], options=pb.CompressOptions(model="nope")),
        grpc.StatusCode.NOT_FOUND,
        "UNKNOWN_MODEL",
        "options.model",
    ),
    "unknown model to decompress": (
        "Decompress",
        pb.DecompressRequest(
            streams=[pb.CompressedImage()], options=pb.DecompressOptions(model="nope")
        ),
        grpc.StatusCode.NOT_FOUND,
        "UNKNOWN_MODEL",
        "options.model",
    ),
    "unknown model to evaluate": (
        "Evaluate",
        pb.EvaluateRequest(images=[GOOD], options=pb.EvaluateOptions(models=["nope"])),
        grpc.StatusCode.NOT_FOUND,
        "UNKNOWN_MODEL",
        "options.models",
    ),
    "unknown profile": (
        "Compress",
        pb.CompressRequest(images=[GOOD], options=pb.CompressOptions(profile=99)),
        INVALID,
        "INVALID_FIELD",
        "options.profile",
    ),
    "unknown fit": (
        "Compress",
        pb.CompressRequest(images=[GOOD], options=pb.CompressOptions(fit=99)),
        INVALID,
        "INVALID_FIELD",
        "options.fit",
    ),
    "unknown format": (
        "Decompress",
        pb.DecompressRequest(
            streams=[pb.CompressedImage()], options=pb.DecompressOptions(format=99)
        ),
        INVALID,
        "INVALID_FIELD",
        "options.format",
    ),
    "unspecified baseline": (
        "Evaluate",
        pb.EvaluateRequest(images=[GOOD], options=pb.EvaluateOptions(baselines=[0])),
        INVALID,
        "INVALID_FIELD",
        "options.baselines",
    ),
    "baselines and none": (
        "Evaluate",
        pb.EvaluateRequest(
            images=[GOOD],
            options=pb.EvaluateOptions(baselines=[pb.BASELINE_ZIP], skip_baselines=True),
        ),
        INVALID,
        "INVALID_FIELD",
        "options.baselines",
    ),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_names_its_field(compression, case):
    method, request, code, reason, field = BAD_REQUESTS[case]
    with pytest.raises(grpc.RpcError) as caught:
        getattr(compression, method)(request)
    assert caught.value.code() is code
    found = details(status_of(caught.value))
    assert found["ErrorInfo"].reason == reason
    assert found["ErrorInfo"].domain == "kompakt.v1"
    assert [v.field for v in found["BadRequest"].field_violations] == [field]


@pytest.mark.parametrize(
    "requests",
    [
        [pb.StreamCompressRequest(images=[GOOD])],
        [pb.StreamCompressRequest(options=pb.CompressOptions())] * 2,
    ],
)
def test_a_streams_options_come_first_and_once(compression, requests):
    assert failure(lambda: list(compression.StreamCompress(iter(requests)))) == (
        INVALID,
        "INVALID_FIELD",
    )


def test_a_message_over_the_limit_is_refused_by_the_transport(serve):
    server = serve(max_message_bytes=100_000)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.CompressionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Compress(pb.CompressRequest(images=[pb.Image(encoded=bytes(200_000))]))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@given(data=st.binary(max_size=300))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arbitrary_requests_get_a_status(channel, data):
    """Bytes that may not even be a message: the server answers each with a status."""
    for method in ("Compress", "Decompress", "Evaluate"):
        call = channel.unary_unary(f"/kompakt.v1.CompressionService/{method}")
        with pytest.raises(grpc.RpcError) as caught:
            call(data)
        assert caught.value.code() in (INVALID, grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND)


def test_after_all_that_the_server_serves_and_has_not_grown(compression, stream, digits):
    def abuse() -> None:
        for image, _, _ in BAD_IMAGES.values():
            failure(lambda i=image: compression.Compress(pb.CompressRequest(images=[i])))
        for data, _, _ in bad_streams(stream).values():
            request = pb.DecompressRequest(streams=[pb.CompressedImage(data=data)])
            failure(lambda r=request: compression.Decompress(r))

    def rss() -> int:
        return psutil.Process().memory_info().rss

    for _ in range(20):
        abuse()
    before = rss()
    for _ in range(60):
        abuse()
    assert rss() - before < 8 << 20

    response = compression.Compress(pb.CompressRequest(images=[raw(digits[0])]))
    assert response.results[0].stream.data == stream


@pytest.mark.parametrize("length", [5_000, 100_000])
def test_an_error_about_what_is_very_long_arrives(compression, length):
    """It repeats what was sent, and gRPC takes no more than 8 KiB of it."""
    request = pb.CompressRequest(images=[GOOD], options=pb.CompressOptions(model="x" * length))
    with pytest.raises(grpc.RpcError) as caught:
        compression.Compress(request)
    assert failure(lambda: compression.Compress(request)) == (
        grpc.StatusCode.NOT_FOUND,
        "UNKNOWN_MODEL",
    )
    assert caught.value.details().startswith("no model named 'xxx")
