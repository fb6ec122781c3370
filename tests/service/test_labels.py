"""A conditional model through the service: the label as a level, in the frame's head."""

import numpy as np
import pytest

from kompakt.v1 import compression_pb2 as pb
from kompakt_client import Client, InvalidRequestError
from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile, parse_frame
from tests.service.conftest import start_server
from tests.service.support import failure, raw
from tests.support import make_label_checkpoint, real_digits


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("labelled")
    make_label_checkpoint().save(directory / "tiny-labels.safetensors")
    server = start_server(directory)
    yield server
    server.stop(grace_seconds=0)


def test_a_model_tells_its_labels(server):
    with Client(f"127.0.0.1:{server.port}") as client:
        [model] = client.models()
    assert model.labels == ("one", "two", "three")
    assert (model.levels, model.default_level) == (4, 0)


@pytest.mark.parametrize("level", [None, 0, 1, 3])
def test_a_label_goes_in_the_head_and_changes_the_picture(server, level):
    digit = real_digits(1)[0]
    codec = Codec(make_label_checkpoint())
    with Client(f"127.0.0.1:{server.port}") as client:
        result = client.compress(digit, level=level, profile="embedded", fallback="never")
        image = client.decompress(result)

    frame = parse_frame(result.data, Profile.EMBEDDED)
    assert frame.mode == result.level == (level or 0)
    [alone] = codec.decompress([result.data], profile=Profile.EMBEDDED)
    assert np.abs(image.to_numpy().astype(int) - alone).max() <= 1


def test_a_label_that_the_model_lacks_is_refused(compression):
    image, options = raw(real_digits(1)[0]), pb.CompressOptions(level=4)
    refused = failure(
        lambda: compression.Compress(pb.CompressRequest(images=[image], options=options))
    )
    assert refused[1] == "INVALID_FIELD"


def test_evaluate_takes_no_label_for_a_rate_level(server):
    digit = real_digits(1)[0]
    with Client(f"127.0.0.1:{server.port}") as client:
        for options in ({}, {"models": ["tiny-labels"]}):
            with pytest.raises(InvalidRequestError, match="2 is no rate level of tiny-labels"):
                client.evaluate([digit], level=2, baselines=[], **options)
