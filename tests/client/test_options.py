"""What can be asked of a call, of both clients: what reaches the server, and what is refused."""

from pathlib import Path

import pytest

from kompakt.v1 import compression_pb2 as pb
from kompakt_client import (
    Client,
    InvalidRequestError,
    QualityUnreachableError,
    _operations,
    _plans,
)
from tests.client.conftest import pixels


def test_options_reach_the_server(client, fake):
    compressed = client.compress(pixels(1, height=100), fit="cover", profile="embedded")

    options = fake.requests[0].options
    assert (options.fit, options.profile) == (pb.FIT_COVER, pb.FRAME_PROFILE_EMBEDDED)
    assert compressed.fitted
    assert compressed.height == 64
    assert compressed.profile == "embedded"


@pytest.mark.parametrize(
    "quality",
    [
        {"level": 0},
        {"min_psnr_db": 30},
        {"max_mse": 0.0},
        {"max_bytes": 2**63},
        {"lossless": True},
    ],
)
def test_one_quality_reaches_the_server(client, fake, image, quality):
    compressed = client.compress(image, **quality, fallback="never")

    options = fake.requests[0].options
    [(name, value)] = quality.items()
    assert options.WhichOneof("quality") == name
    assert getattr(options, name) == value
    assert options.fallback == pb.FALLBACK_NEVER
    measured = {"level": (None, None), "lossless": (0.0, None)}
    assert (compressed.mse, compressed.psnr_db) == measured.get(name, (0.01, 20.0))
    assert compressed.codec == ("png" if name == "lossless" else "fake-ae")
    assert compressed.level == (None if name == "lossless" else 0)


@pytest.mark.parametrize(("level", "sent"), [(1, (1, 0)), (9.0, (9, 0)), (9.375, (9, 3))])
def test_a_level_between_two_reaches_the_server(client, fake, image, level, sent):
    compressed = client.compress(image, level=level)

    options = fake.requests[0].options
    assert (options.level, options.level_eighths) == sent
    assert compressed.level == level
    assert isinstance(compressed.level, float if sent[1] else int)


def test_a_thorough_fallback_reaches_the_server(client, fake, image):
    client.compress(image, fallback="thorough")
    assert fake.requests[0].options.fallback == pb.FALLBACK_THOROUGH


def test_no_quality_is_sent_unless_one_is_given(client, fake, image):
    client.compress(image, level=None, lossless=False)

    options = fake.requests[0].options
    assert options.WhichOneof("quality") is None
    assert options.fallback == pb.FALLBACK_BEST


def test_a_quality_that_cannot_be_reached_tells_the_nearest(client, image):
    with pytest.raises(QualityUnreachableError, match="fits into 100 bytes") as caught:
        client.compress(image, max_bytes=100)

    assert (caught.value.size_bytes, caught.value.mse, caught.value.psnr_db) == (797, 0.01, 20.0)


def test_an_unreachable_quality_is_an_items_own(client):
    small, large = client.compress_batch([pixels(1, 2, 2), pixels(2)], max_bytes=100)
    [streamed] = client.compress_many([pixels(2)], max_bytes=100)

    assert small.unwrap().mse == 0.01
    for failure in (large, streamed):
        assert isinstance(failure.error, QualityUnreachableError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fit": "crop"}, "fit must be one of refuse, contain, cover, stretch, not 'crop'"),
        ({"profile": "zip"}, "profile must be one of file, embedded, not 'zip'"),
        ({"timeout": 0}, "a timeout must be a positive number of seconds, not 0"),
        ({"fallback": "no"}, "fallback must be one of best, thorough, never, not 'no'"),
        ({"level": -1}, "level must be 0 or more, not -1"),
        ({"level": 1.1}, "level must be a whole number or one in steps of 1/8, not 1.1"),
        ({"level": float("inf")}, "level is too large: inf"),
        ({"level": 1e12}, r"no model has a level 1000000000000\.0"),
        ({"max_bytes": 1 << 64}, "max_bytes is too large: 18446744073709551616"),
        ({"max_bytes": 10**400}, "max_bytes is too large: 1000"),
        ({"max_bytes": -(10**400)}, "max_bytes must be 0 or more, not -1000"),
        ({"level": 10**400}, "level is too large: 1000"),
        ({"timeout": 9e9}, "a timeout must be at most 31536000 seconds, a year, not 9000000000.0"),
        ({"timeout": 10**400}, "a timeout must be at most 31536000 seconds, a year, not 1000"),
        ({"min_psnr_db": float("nan")}, "min_psnr_db must be 0 or more, not nan"),
        (
            {"keep_metadata": True, "profile": "embedded"},
            "keep_metadata is for the profile 'file': an embedded stream has no place for it",
        ),
        (
            {"max_mse": 0.1, "max_bytes": 9, "lossless": True},
            "one quality at a time: max_mse and max_bytes and lossless exclude each other",
        ),
    ],
)
def test_wrong_options_are_refused(client, image, options, message):
    with pytest.raises(ValueError, match=message):
        client.compress(image, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "9.5"}, "level must be a number, not '9.5'"),
        ({"level": True}, "level must be a number, not True"),
        ({"max_bytes": 3000.0}, r"max_bytes must be a whole number, not 3000\.0"),
        ({"lossless": "yes"}, "lossless must be True or False, not 'yes'"),
        ({"keep_metadata": "yes"}, "keep_metadata must be True or False, not 'yes'"),
        ({"latents": 0.5}, r"latents must be True or False, not 0\.5"),
        ({"reconstruction": "a"}, "reconstruction must be True or False, not 'a'"),
        ({"model": 5}, "model must be a string, not 5"),
        ({"label": 7}, "label must be a string, not 7"),
        ({"timeout": "5"}, "timeout must be a number of seconds, not '5'"),
    ],
)
def test_options_of_another_type_are_refused(client, image, options, message):
    with pytest.raises(TypeError, match=message):
        client.compress(image, **options)


@pytest.mark.parametrize("way", ["compress", "compress_batch", "compress_many"])
def test_the_longest_timeout_is_a_year(make_client, image, way):
    client = make_client(timeout=31536000)
    for options in ({"timeout": 31536000}, {"max_bytes": 10_000}):
        made = getattr(client, way)(image if way == "compress" else [image], **options)
        for one in [made] if way == "compress" else made:
            assert one.unwrap().num_bytes == 797


@pytest.mark.parametrize(
    ("method", "arguments", "options", "message"),
    [
        ("decompress", [b"FAKE"], {"model": 5}, "model must be a string, not 5"),
        ("model", [5], {}, "name must be a string, not 5"),
        ("load_model", [Path("a")], {}, r"path must be a string, not PosixPath\('a'\)"),
        ("promote_model", [5], {}, "model must be a string, not 5"),
        (
            "evaluate",
            [[]],
            {"models": ["a", 5]},
            r"models must be a list of strings, not \['a', 5\]",
        ),
    ],
)
def test_arguments_of_another_type_are_refused(client, fake, method, arguments, options, message):
    with pytest.raises(TypeError, match=message):
        getattr(client, method)(*arguments, **options)

    assert fake.calls == []


def test_an_unknown_option_is_refused(client, image):
    with pytest.raises(TypeError, match="unexpected keyword argument 'modle'"):
        client.compress(image, modle="fake-ae")


@pytest.mark.parametrize("way", ["compress", "compress_batch", "compress_many"])
def test_a_label_becomes_its_level(client, fake, image, way):
    made = getattr(client, way)(
        image if way == "compress" else [image], model="fake-cvae", label="seven"
    )
    [made] = [made] if way == "compress" else made

    assert made.level == 2
    assert fake.calls[0] == "GetModel"
    assert fake.requests[0].options.model == "fake-cvae"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("fake-cvae", "fake-cvae has no label 'eight': choose from 0, seven"),
        ("fake-ae", "fake-ae has no label 'eight': it is conditioned on none"),
    ],
)
def test_a_label_that_the_model_does_not_know_is_refused(client, fake, image, model, message):
    with pytest.raises(InvalidRequestError, match=message):
        client.compress(image, model=model, label="eight")

    assert fake.calls == ["GetModel"]


def test_a_label_excludes_a_quality(client, image):
    with pytest.raises(ValueError, match="label and max_mse exclude each other"):
        client.compress(image, label="7", max_mse=0.1)


@pytest.mark.parametrize(
    ("options", "slow"),
    [
        ({}, False),
        ({"level": 1.5}, False),
        ({"max_bytes": 10_000}, True),
        ({"lossless": True}, True),
        ({"fallback": "thorough"}, True),
        ({"lossless": True, "timeout": 7}, False),
    ],
)
def test_qualities_that_are_searched_for_have_ten_times_as_long(image, options, slow):
    with Client("localhost:1", timeout=2.0) as client:
        run = _plans.many(client._settings, _operations.compress, [image], options)

    assert run.patience.timeout == options.get("timeout", 20 if slow else 2)
