"""Evaluate, of both clients, against the fake server."""

import numpy as np
import pytest

from kompakt.v1 import compression_pb2 as pb
from kompakt_client import (
    InvalidImageError,
)
from tests.client.conftest import pixels


def test_evaluate_pools_over_one_request(client, fake, image):
    evaluation = client.evaluate([image, b"bad", image], models=["fake-ae"])

    assert fake.calls == ["StreamEvaluate"]
    codecs = [(one.codec, one.reference_model, one.num_images) for one in evaluation.pooled]
    assert codecs == [("fake-ae", "", 2), ("zip", "", 2), ("webp", "fake-ae", 2)]
    assert evaluation.pooled[0].bytes_per_image == 50
    assert evaluation.images[0].measurements[0].psnr_db == 20.0
    assert evaluation.images[0].measurements[1].psnr_db is None
    assert [failure.index for failure in evaluation.failures] == [1]


def test_evaluate_pools_over_a_long_run(client, fake):
    images = [pixels(seed) for seed in range(100)]
    images[50] = b"bad"

    evaluation = client.evaluate(iter(images), baselines=[], reconstructions=True)

    assert fake.calls == ["StreamEvaluate"]
    assert [image.index for image in evaluation.images] == list(range(100))
    assert [(one.codec, one.num_images) for one in evaluation.pooled] == [
        ("fake-ae", 99),
        ("fake-vae", 99),
    ]
    assert np.array_equal(evaluation.images[99].reconstructions["fake-vae"], images[99])


def test_the_only_image_to_evaluate_may_fail(client):
    evaluation = client.evaluate([b"bad"])

    assert isinstance(evaluation.images[0].error, InvalidImageError)
    assert evaluation.pooled == ()


def test_evaluate_passes_its_options(client, fake, image):
    client.evaluate([image], baselines=["zip", "jpeg-xl"], models="fake-ae", fit="stretch")

    options = fake.requests[0].options
    assert list(options.baselines) == [pb.BASELINE_ZIP, pb.BASELINE_JPEG_XL]
    assert not options.skip_baselines
    assert list(options.models) == ["fake-ae"]
    assert options.fit == pb.FIT_STRETCH


def test_evaluate_refuses_an_unknown_baseline(client, image):
    with pytest.raises(ValueError, match=r"baseline must be one of zip, .*, not 'gif'"):
        client.evaluate([image], baselines=["gif"])
