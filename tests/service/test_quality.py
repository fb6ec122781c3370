"""Demanded qualities over the wire: kept for every image, or refused item by item."""

import math
import shutil

import grpc
import numpy as np
import pytest

from kompakt.v1 import compression_pb2 as pb
from kompakt_client import Client, QualityUnreachableError
from kompakt_codec.classical import encode_classical_lossless
from kompakt_codec.metrics import mse, psnr_db
from tests.service.conftest import start_server
from tests.service.support import (
    details,
    failure,
    item_failure,
    metrics_page,
    raw,
    status_of,
    value,
)
from tests.support import several_domains

MODEL = "tiny-levels"
UNREACHABLE = (grpc.StatusCode.FAILED_PRECONDITION, "QUALITY_UNREACHABLE")
PROFILES = [pb.FRAME_PROFILE_FILE, pb.FRAME_PROFILE_EMBEDDED]


@pytest.fixture(scope="module")
def server(checkpoints, level_checkpoint, tmp_path_factory):
    directory = tmp_path_factory.mktemp("served")
    for path in (level_checkpoint, checkpoints / "tiny-vae.safetensors"):
        shutil.copy(path, directory)
    server = start_server(directory)
    yield server
    server.stop(grace_seconds=0)


@pytest.fixture(scope="module")
def images(digits):
    return [*digits[:8], *several_domains()]


def compress(stub, images, **options) -> list[pb.CompressResult]:
    options = pb.CompressOptions(model=MODEL, **options)
    request = pb.CompressRequest(images=[raw(i) for i in images], options=options)
    return list(stub.Compress(request).results)


def decompress(stub, results, profile=pb.FRAME_PROFILE_FILE) -> list[pb.DecompressResult]:
    options = pb.DecompressOptions(model=MODEL, profile=profile)
    streams = [r.stream for r in results]
    return list(stub.Decompress(pb.DecompressRequest(streams=streams, options=options)).results)


def pixels_of(result: pb.DecompressResult) -> np.ndarray:
    image = result.image.raw
    return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, image.channels)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    "demand",
    [
        {"min_psnr_db": 20},
        {"min_psnr_db": 40},
        {"max_mse": 0.006},
        {"max_bytes": 130},
        {"lossless": True},
        {},
    ],
    ids=str,
)
def test_what_is_decoded_is_what_was_demanded(compression, images, profile, demand):
    results = compress(compression, images, profile=profile, **demand)
    kept = [i for i, result in enumerate(results) if not result.status.code]
    back = decompress(compression, [results[i] for i in kept], profile)

    assert len(kept) == len(images) or "max_bytes" in demand
    for i, decoded in zip(kept, back, strict=True):
        result, error = results[i], mse(images[i], pixels_of(decoded))
        assert psnr_db(error) >= demand.get("min_psnr_db", 0)
        assert error <= (0 if "lossless" in demand else demand.get("max_mse", 1))
        assert result.size_bytes == len(result.stream.data) <= demand.get("max_bytes", 1000)
        assert (decoded.codec, decoded.model) == (result.codec, MODEL)
        assert result.HasField("level") == (result.codec == MODEL)
        assert result.HasField("mse") or not demand
        if result.HasField("mse"):
            assert result.mse == pytest.approx(error, rel=0.01)
            assert result.HasField("psnr_db") == (error > 0)
    assert {r.codec for r in results} != {MODEL}


def test_lossless_streams_are_no_larger_than_the_best_classic(compression, images):
    results = compress(compression, images, lossless=True, profile=pb.FRAME_PROFILE_EMBEDDED)
    for pixels, result in zip(images, results, strict=True):
        assert result.size_bytes == len(encode_classical_lossless(pixels).payload) + 2
        assert (result.mse, result.HasField("psnr_db")) == (0, False)


def test_levels_are_a_dial(compression, digits):
    streams = [
        compress(compression, digits[:4], level=level, fallback=pb.FALLBACK_NEVER)
        for level in range(5)
    ]
    sizes = [sum(r.size_bytes for r in results) for results in streams]
    assert sizes == sorted(sizes)
    assert [results[0].level for results in streams] == list(range(5))
    mixed = [results[i] for i in range(4) for results in streams]
    back = decompress(compression, mixed)
    errors = [mse(digits[i // 5], pixels_of(r)) for i, r in enumerate(back)]
    assert np.mean(errors[0::5]) > np.mean(errors[1::5]) > np.mean(errors[4::5])
    default = compress(compression, digits[:4], fallback=pb.FALLBACK_NEVER)
    assert [r.stream for r in default] == [r.stream for r in streams[2]]


def test_latents_come_only_of_the_model(compression, images):
    results = compress(compression, images, return_latents=True, return_reconstruction=True)
    for pixels, result in zip(images, results, strict=True):
        assert result.HasField("latents") == (result.codec == MODEL)
        picture = np.frombuffer(result.reconstruction.data, np.uint8).reshape(28, 28, 1)
        assert result.mse == pytest.approx(mse(pixels, picture), rel=0.01)


def test_one_image_that_cannot_fit_fails_the_call_and_says_what_can(compression, digits):
    with pytest.raises(grpc.RpcError) as caught:
        compress(compression, digits[:1], max_bytes=9)

    info = details(status_of(caught.value))["ErrorInfo"]
    assert (caught.value.code(), info.reason) == UNREACHABLE
    nearest = int(info.metadata["size_bytes"])
    assert f"the smallest has {nearest}" in caught.value.details()
    [reached] = compress(compression, digits[:1], max_bytes=nearest)
    assert reached.size_bytes == nearest
    assert reached.mse == float(info.metadata["mse"])
    assert reached.psnr_db == pytest.approx(float(info.metadata["psnr_db"]))


def test_images_that_cannot_fit_never_fail_their_neighbours(compression, images):
    options = pb.CompressOptions(model=MODEL, max_bytes=60)
    requests = [
        pb.StreamCompressRequest(options=options, images=[raw(i) for i in images[:5]]),
        pb.StreamCompressRequest(images=[raw(i) for i in images[5:]]),
    ]
    streamed = [r for m in compression.StreamCompress(iter(requests)) for r in m.results]
    unary = compress(compression, images, max_bytes=60)

    assert [r.index for r in streamed] == list(range(len(images)))
    failed = [i for i, r in enumerate(streamed) if r.status.code]
    assert 8 in failed  # noise
    assert len(failed) < len(images)
    for one, other in zip(streamed, unary, strict=True):
        assert one.status == other.status
        assert one.stream == other.stream
        if one.status.code:
            assert item_failure(one.status) == UNREACHABLE
        else:
            assert one.size_bytes <= 60


def test_without_fallback_the_model_reaches_what_it_reaches(compression, images):
    results = compress(compression, images, min_psnr_db=24, fallback=pb.FALLBACK_NEVER)

    assert {r.codec for r in results if not r.status.code} == {MODEL}
    failures = {item_failure(r.status) for r in results if r.status.code}
    assert failures == {UNREACHABLE}
    demand = {"lossless": True, "fallback": pb.FALLBACK_NEVER}
    assert failure(lambda: compress(compression, images[:1], **demand)) == UNREACHABLE


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"min_psnr_db": math.nan}, "options.min_psnr_db"),
        ({"min_psnr_db": -1}, "options.min_psnr_db"),
        ({"min_psnr_db": math.inf}, "options.min_psnr_db"),
        ({"max_mse": math.nan}, "options.max_mse"),
        ({"max_mse": -1e-9}, "options.max_mse"),
        ({"level": 5}, "options.level"),
        ({"fallback": 7}, "options.fallback"),
    ],
)
def test_a_quality_out_of_range_names_its_field(compression, digits, options, field):
    with pytest.raises(grpc.RpcError) as caught:
        compress(compression, digits[:1], **options)

    found = details(status_of(caught.value))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert found["ErrorInfo"].reason == "INVALID_FIELD"
    assert [v.field for v in found["BadRequest"].field_violations] == [field]
    assert caught.value.details().startswith(field)


def test_lossless_false_is_no_demand(compression, digits):
    assert compress(compression, digits[:1], lossless=False) == compress(compression, digits[:1])


@pytest.mark.parametrize("profile", PROFILES)
def test_a_damaged_classical_stream_is_a_typed_error(compression, profile):
    for pixels in several_domains()[1:]:
        [made] = compress(compression, [pixels], lossless=True, profile=profile)
        data = made.stream.data
        damaged = [data[:n] for n in range(len(data))]
        damaged += [data[:i] + bytes([data[i] ^ 0x20]) + data[i + 1 :] for i in range(len(data))]
        streams = [pb.CompressResult(stream=pb.CompressedImage(data=d)) for d in damaged]
        reasons, wrong = set(), 0
        for result in decompress(compression, streams, profile):
            if result.status.code:
                reasons.add(item_failure(result.status)[1])
            else:
                wrong += not np.array_equal(pixels_of(result), pixels)
        assert reasons <= {
            *("INVALID_STREAM", "CORRUPT_STREAM", "UNSUPPORTED_VERSION", "MODEL_MISMATCH")
        }
        assert "CORRUPT_STREAM" in reasons
        assert wrong <= (0 if profile == pb.FRAME_PROFILE_FILE else len(damaged) / 64)
        checked = pb.CompressedImage(data=data[:-1] + b"?", crc32c=made.stream.crc32c)
        request = pb.DecompressRequest(
            streams=[checked], options=pb.DecompressOptions(model=MODEL, profile=profile)
        )
        assert failure(lambda r=request: compression.Decompress(r))[1] == "CORRUPT_STREAM"


def test_a_classical_file_names_its_model(compression):
    flat = several_domains()[1]
    [made] = compress(compression, [flat])
    request = pb.DecompressRequest(streams=[made.stream])
    result = compression.Decompress(request).results[0]
    assert (result.model, result.codec) == (MODEL, made.codec)
    options = pb.DecompressOptions(model="tiny-vae")
    wrong = pb.DecompressRequest(streams=[made.stream], options=options)
    assert failure(lambda: compression.Decompress(wrong)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "MODEL_MISMATCH",
    )


def test_models_tell_their_levels(models):
    one = models.GetModel(pb.GetModelRequest(name=MODEL)).model
    assert (one.levels, one.default_level, len(one.curve)) == (5, 2, 5)
    assert one.measured == one.curve[2]
    assert models.GetModel(pb.GetModelRequest(name="tiny-vae")).model.levels == 1


def test_models_are_evaluated_at_their_default_level_as_they_are(compression, images):
    options = pb.EvaluateOptions(models=[MODEL], skip_baselines=True)
    request = pb.EvaluateRequest(images=[raw(i) for i in images], options=options)
    results = compression.Evaluate(request).results
    own = compress(compression, images, fallback=pb.FALLBACK_NEVER, return_reconstruction=True)
    assert [r.measurements[0].size_bytes for r in results] == [r.size_bytes for r in own]
    errors = [r.measurements[0].mse for r in results]
    assert errors == pytest.approx([r.mse for r in own], rel=0.01)


def test_outcomes_are_counted(server, compression, images):
    compress(compression, images, max_bytes=60)
    page = metrics_page(server)
    assert value(page, "kompakt_images_total", outcome="QUALITY_UNREACHABLE") > 0


def test_the_sdk_asks_for_qualities(server, images):
    with Client(f"127.0.0.1:{server.port}") as client:
        made = client.compress_batch(images, model=MODEL, min_psnr_db=22, profile="embedded")
        back = client.decompress_batch([one.unwrap() for one in made])
        for pixels, one, decoded in zip(images, made, back, strict=True):
            assert psnr_db(mse(pixels, decoded.unwrap().to_numpy())) >= 22
            assert decoded.codec == one.codec
        assert {one.codec for one in made} > {MODEL}
        with pytest.raises(QualityUnreachableError) as caught:
            client.compress(images[0], model=MODEL, max_bytes=9)
        nearest = client.compress(images[0], model=MODEL, max_bytes=caught.value.size_bytes)
        assert (nearest.num_bytes, nearest.mse) == (caught.value.size_bytes, caught.value.mse)
        streamed = list(client.compress_many(images, model=MODEL, lossless=True))
        assert all(one.unwrap().mse == 0 and one.level is None for one in streamed)
