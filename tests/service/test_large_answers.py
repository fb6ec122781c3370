"""Answers over the limit of one message, and images that take more than that by themselves."""

import time

import grpc
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from kompakt.v1 import compression_pb2 as pb
from kompakt_client import Client
from kompakt_codec.models import ImageSpec
from kompakt_service import servicers
from tests.service.conftest import start_server
from tests.service.support import encoded, failure, item_failure, metrics_page, value
from tests.support import make_any_size_checkpoint

LIMIT = 100_000
TOO_LARGE = (grpc.StatusCode.INVALID_ARGUMENT, "IMAGE_TOO_LARGE")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("served")
    spec = ImageSpec(height=16, width=24, channels=3)
    make_any_size_checkpoint(spec=spec, name="any").save(directory / "any.safetensors")
    server = start_server(directory, max_message_bytes=LIMIT)
    yield server
    server.stop(grace_seconds=0)


@pytest.fixture(scope="module")
def small():
    return load_sample_images().images[0][:40, :50]


@pytest.fixture(scope="module")
def large():
    """120,000 bytes of pixels, but smooth ones: a file of them is small."""
    rows, columns = np.mgrid[:200, :200]
    return np.stack([rows, columns, (rows + columns) // 2], -1).astype(np.uint8)


@pytest.fixture(scope="module")
def streams(compression, small, large):
    made = compress(compression, small, large, small)
    return [result.stream for result in made.results]


def compress(compression, *images, **options):
    asked = pb.CompressOptions(fallback=pb.FALLBACK_NEVER, **options)
    images = [encoded(image) for image in images]
    return compression.Compress(pb.CompressRequest(images=images, options=asked))


def decompress(compression, *streams, **options):
    asked = pb.DecompressOptions(**options)
    return compression.Decompress(pb.DecompressRequest(streams=streams, options=asked))


def test_an_image_too_large_for_any_answer_fails_alone(compression, streams, small):
    results = decompress(compression, *streams).results

    assert item_failure(results[1].status) == TOO_LARGE
    assert "take 120000 bytes, over the limit of 100000 a message: ask for a file" in (
        results[1].status.message
    )
    for result in (results[0], results[2]):
        assert len(result.image.raw.data) == small.size
    assert failure(lambda: decompress(compression, streams[1])) == TOO_LARGE


def test_as_a_file_that_fits_it_comes_back(compression, server, streams, large):
    [result] = decompress(compression, streams[1], format=pb.IMAGE_FORMAT_JPEG).results
    assert (result.height, result.width) == large.shape[:2]

    lone = lambda: decompress(compression, streams[1], format=pb.IMAGE_FORMAT_BMP)  # noqa: E731
    assert failure(lone) == TOO_LARGE

    several = lambda: decompress(compression, *streams, format=pb.IMAGE_FORMAT_JPEG)  # noqa: E731
    assert failure(several) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_MANY_IMAGES")
    with Client(f"127.0.0.1:{server.port}") as client:
        back = client.decompress_batch([stream.data for stream in streams], format="jpeg")
        many = list(client.decompress_many([stream.data for stream in streams], format="jpeg"))
    for one in (*back, *many):
        assert one.unwrap().data.startswith(b"\xff\xd8")


def test_what_is_returned_of_one_image_may_be_too_much(compression, small, large):
    results = compress(compression, small, large, return_reconstruction=True).results

    assert len(results[0].reconstruction.data) == small.size
    assert item_failure(results[1].status) == TOO_LARGE
    assert results[1].status.message.endswith("over the limit of 100000 a message: leave them out")
    alone = lambda: compress(compression, large, return_reconstruction=True)  # noqa: E731
    assert failure(alone) == TOO_LARGE


def test_messages_that_are_too_large_together_are_counted_once(
    compression, server, streams, monkeypatch
):
    """Five messages that have come together, each of which fits an answer."""
    batches = [[streams[0]] * 5, [pb.CompressedImage(data=b"junk")], *[[streams[0]] * 5] * 3]

    def together(*_):
        yield pb.DecompressOptions(), batches, 0

    def counted():
        page = metrics_page(server)
        seconds = sum(
            value(page, "kompakt_stage_duration_seconds_sum", operation="decompress", stage=stage)
            for stage in ("image", "queue", "transform", "entropy")
        )
        labels = {"operation": "decompress", "model": "any"}
        calls = value(page, "kompakt_stage_duration_seconds_count", stage="image", **labels)
        junk = value(page, "kompakt_images_total", model="", outcome="INVALID_STREAM")
        return calls, junk, value(page, "kompakt_images_total", outcome="OK", **labels), seconds

    before = counted()
    monkeypatch.setattr(servicers, "bursts", together)
    started = time.monotonic()
    answers = list(compression.StreamDecompress(iter([pb.StreamDecompressRequest()])))
    took = time.monotonic() - started
    after = counted()

    assert [len(answer.results) for answer in answers] == [5, 1, 5, 5, 5]
    assert [a - b for a, b in zip(after[:3], before[:3], strict=True)] == [4, 1, 20]
    assert after[3] - before[3] <= took
