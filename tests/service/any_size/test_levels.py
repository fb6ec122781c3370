"""Rate levels asked for by name: whole, between two, and of Evaluate's models."""

import grpc
import pytest

from kompakt.v1 import compression_pb2 as pb
from kompakt_client import InvalidRequestError
from kompakt_codec.metrics import mse
from tests.service.support import encoded, failure

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(scope="module")
def images(photo):
    return [photo[100 : 100 + n, 200 : 220 + n] for n in (16, 33)]


def test_levels_between_two_are_asked_for_and_told(compression, client, codec, images):
    options = pb.CompressOptions(level=1, level_eighths=3, fallback=pb.FALLBACK_NEVER)
    sent = [encoded(image) for image in images]

    made = compression.Compress(pb.CompressRequest(images=sent, options=options)).results

    assert [(r.level, r.level_eighths) for r in made] == [(1, 3)] * len(images)
    assert [r.stream.data for r in made] == codec.compress(images, level=1.375)
    [picture] = codec.decompress([made[0].stream.data])
    back = client.decompress(made[0].stream.data, format="raw")
    assert back.data == picture.tobytes()
    whole = client.compress(images[0], level=1, fallback="never", reconstruction=True)
    found = client.compress(images[0], max_mse=whole.mse * 1.01, fallback="never")
    assert 0 < found.level <= 1
    info = {model.name: model.has_eighths for model in client.models()}
    assert info == {"any-grey": True, "any-rgb": True, "tiny-vae": False}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 1, "level_eighths": 8}, "level_eighths is from 0 to 7, not 8"),
        ({"level_eighths": 1}, "level_eighths needs options.level beside it"),
        ({"max_mse": 0.1, "level_eighths": 1}, "level_eighths needs options.level beside it"),
        ({"level": 2, "level_eighths": 1}, "level must be from 0 to 2 in steps of 1/8 for any-rgb"),
        (
            {"model": "tiny-vae", "level_eighths": 4, "level": 0},
            "level must be 0, the only one, for tiny-vae, not 0.5",
        ),
    ],
)
def test_other_eighths_are_refused(compression, images, options, message):
    request = pb.CompressRequest(images=[encoded(images[0])], options=pb.CompressOptions(**options))
    with pytest.raises(grpc.RpcError) as caught:
        compression.Compress(request)
    assert message in caught.value.details()
    assert failure(lambda: compression.Compress(request)) == (INVALID, "INVALID_FIELD")


@pytest.mark.parametrize("level", [0, 1.625, 2])
def test_evaluate_measures_at_a_level(client, codec, images, level):
    done = client.evaluate(images, level=level, baselines=[])

    streams = codec.compress(images, level=level)
    pictures = codec.decompress(streams)
    for one, image, stream, picture in zip(done.images, images, streams, pictures, strict=True):
        [measured] = one.measurements
        assert (measured.codec, measured.size_bytes) == ("any-rgb", len(stream))
        assert measured.mse == pytest.approx(mse(image, picture), rel=1e-4)


def test_evaluate_leaves_out_models_without_the_level_unless_they_are_named(client, images, digits):
    [done] = client.evaluate([digits[0]], fit="stretch", level=1, baselines=[]).images
    assert [one.codec for one in done.measurements] == ["any-grey", "any-rgb"]
    for options in ({"models": ["tiny-vae"], "level": 1}, {"level": 0.5, "models": ["tiny-vae"]}):
        with pytest.raises(InvalidRequestError, match="is no rate level of tiny-vae"):
            client.evaluate([digits[0]], **options)
    with pytest.raises(
        InvalidRequestError, match="7 is no rate level of any-grey, any-rgb, tiny-vae"
    ):
        client.evaluate([*images, b"no image"], level=7)
