"""What the service answers when all is well."""

import gc
import io
import math
import zipfile
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_codec.models import ImageSpec
from kompakt_service.compressing import Compressor
from tests.service.support import encoded, raw
from tests.support import make_checkpoint


@pytest.fixture(scope="module")
def codec(checkpoints):
    return Codec.load(checkpoints / "tiny-vae.safetensors")


def pixels_of(image: pb.RawImage) -> np.ndarray:
    return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, image.channels)


@pytest.mark.parametrize("profile", Profile)
def test_streams_are_those_of_the_codec(compression, codec, digits, profile):
    wire = {Profile.FILE: pb.FRAME_PROFILE_FILE, Profile.EMBEDDED: pb.FRAME_PROFILE_EMBEDDED}
    images = [encoded(digits[0]), raw(digits[1])]
    options = pb.CompressOptions(model="tiny-vae", profile=wire[profile])

    made = compression.Compress(pb.CompressRequest(images=images, options=options))

    streams = [r.stream.data for r in made.results]
    assert streams == codec.compress(list(digits[:2]), profile=profile)
    assert made.model == "tiny-vae"
    assert made.fingerprint == codec.fingerprint.hex()
    assert made.results[0].size_bytes == len(streams[0])
    assert made.results[0].bits_per_pixel == pytest.approx(8 * len(streams[0]) / 784)

    back = compression.Decompress(
        pb.DecompressRequest(
            streams=[r.stream for r in made.results],
            options=pb.DecompressOptions(model="tiny-vae", profile=wire[profile]),
        )
    )
    expected = codec.decompress(streams, profile=profile)
    for result, pixels in zip(back.results, expected, strict=True):
        assert np.array_equal(pixels_of(result.image.raw), pixels)
        assert result.model == "tiny-vae"


def living_requests() -> list[Any]:
    kinds = (pb.Image, pb.CompressRequest)
    gc.collect()
    return [one for one in gc.get_objects() if type(one) in kinds]


def test_a_request_is_let_go_of_once_its_images_are_read(channel, digits, monkeypatch):
    alive = []
    contests = Compressor._contests

    def spy(self, *args):
        alive.extend(map(id, living_requests()))
        return contests(self, *args)

    monkeypatch.setattr(Compressor, "_contests", spy)
    call = channel.unary_unary("/kompakt.v1.CompressionService/Compress")  # bytes, no messages
    images = [raw(digits[0]), pb.Image(encoded=b"no image"), raw(digits[1])]
    request = pb.CompressRequest(images=images).SerializeToString()
    others = living_requests()
    answer = call(request)
    assert len(pb.CompressResponse.FromString(answer).results) == 3
    assert alive
    assert set(alive) <= set(map(id, others))


def test_latents_and_reconstruction_on_request(compression, codec, digits):
    options = pb.CompressOptions(model="tiny-vae", return_latents=True, return_reconstruction=True)
    result = compression.Compress(
        pb.CompressRequest(images=[raw(digits[3])], options=options)
    ).results[0]

    symbols = codec.analyse(digits[3:4], [0])
    assert result.latents.data_type == pb.DATA_TYPE_INT16
    latents = np.frombuffer(result.latents.data, "<i2").reshape(result.latents.shape)
    assert np.array_equal(latents, symbols[0])
    reconstruction = pixels_of(result.reconstruction)
    assert np.array_equal(reconstruction, codec.synthesise(symbols, [0])[0])
    difference = (reconstruction.astype(float) - digits[3]) / 255
    assert result.mse == pytest.approx((difference**2).mean())
    assert result.psnr_db == pytest.approx(-10 * math.log10(result.mse))


def test_neither_unless_asked_for(compression, digits):
    result = compression.Compress(pb.CompressRequest(images=[raw(digits[3])])).results[0]
    assert not result.HasField("latents")
    assert not result.HasField("reconstruction")
    assert not result.HasField("mse")


@pytest.mark.parametrize("fit", [pb.FIT_CONTAIN, pb.FIT_COVER, pb.FIT_STRETCH])
def test_a_fitted_image_is_compressed_and_says_so(compression, fit):
    photo = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)
    options = pb.CompressOptions(fit=fit)
    request = pb.CompressRequest(images=[encoded(photo)], options=options)
    result = compression.Compress(request).results[0]
    assert (result.height, result.width, result.channels) == (28, 28, 1)
    assert result.fitted


def test_flattened_transparency_counts_as_fitted(compression):
    picture = np.full((28, 28, 2), 200, np.uint8)
    picture[:14, :, 1] = 0
    picture[14:, :, 1] = 255
    options = pb.CompressOptions(fit=pb.FIT_STRETCH)
    request = pb.CompressRequest(images=[encoded(picture)], options=options)
    assert compression.Compress(request).results[0].fitted


def test_an_image_that_fits_is_left_alone(compression, digits):
    options = pb.CompressOptions(fit=pb.FIT_COVER)
    request = pb.CompressRequest(images=[raw(digits[0])], options=options)
    plain = pb.CompressRequest(images=[raw(digits[0])])
    result = compression.Compress(request).results[0]
    assert not result.fitted
    assert result.stream == compression.Compress(plain).results[0].stream


@pytest.mark.parametrize(
    ("wire", "name"),
    [
        (pb.IMAGE_FORMAT_PNG, "PNG"),
        (pb.IMAGE_FORMAT_WEBP, "WEBP"),
        (pb.IMAGE_FORMAT_BMP, "BMP"),
        (pb.IMAGE_FORMAT_TIFF, "TIFF"),
    ],
)
def test_images_come_back_as_files(compression, digits, wire, name):
    made = compression.Compress(
        pb.CompressRequest(
            images=[raw(digits[0])], options=pb.CompressOptions(return_reconstruction=True)
        )
    ).results[0]
    back = compression.Decompress(
        pb.DecompressRequest(streams=[made.stream], options=pb.DecompressOptions(format=wire))
    ).results[0]
    with Image.open(io.BytesIO(back.image.encoded)) as image:
        assert image.format == name
        grey = np.asarray(image.convert("L"))
    assert np.array_equal(grey[..., None], pixels_of(made.reconstruction))


def test_files_of_several_models_in_one_request(compression, digits):
    streams = [
        compression.Compress(
            pb.CompressRequest(images=[raw(digits[0])], options=pb.CompressOptions(model=model))
        )
        .results[0]
        .stream
        for model in ("tiny-vae", "tiny-ae", "tiny-vae")
    ]
    results = compression.Decompress(pb.DecompressRequest(streams=streams)).results
    assert [r.model for r in results] == ["tiny-vae", "tiny-ae", "tiny-vae"]
    assert results[0].image == results[2].image != results[1].image


def test_streaming_gives_what_single_calls_give(compression, digits):
    requests = [pb.StreamCompressRequest(options=pb.CompressOptions(model="tiny-vae"))]
    requests += [
        pb.StreamCompressRequest(images=[raw(d) for d in digits[i : i + 7]])
        for i in range(0, 28, 7)
    ]
    made = [r for m in compression.StreamCompress(iter(requests)) for r in m.results]
    whole = compression.Compress(
        pb.CompressRequest(
            images=[raw(d) for d in digits[:28]],
            options=pb.CompressOptions(model="tiny-vae"),
        )
    )
    assert made == list(whole.results)

    back = compression.StreamDecompress(
        iter(
            [
                pb.StreamDecompressRequest(
                    options=pb.DecompressOptions(), streams=[r.stream for r in made]
                )
            ]
        )
    )
    indices = [r.index for m in back for r in m.results]
    assert indices == list(range(28))


def test_evaluate_measures_real_bytes(compression, codec, digits):
    images = [raw(d) for d in digits[:3]]
    options = pb.EvaluateOptions(models=["tiny-vae"], return_reconstructions=True)
    response = compression.Evaluate(pb.EvaluateRequest(images=images, options=options))

    lossless = ["zip", "deflate", "png", "webp-lossless"]
    lossy = ["jpeg", "webp", "avif", "jpeg-xl"]
    streams = codec.compress(list(digits[:3]))
    for result, stream, digit in zip(response.results, streams, digits, strict=False):
        found = {m.codec: m for m in result.measurements}
        assert list(found) == ["tiny-vae", *lossless, *lossy]
        model = found["tiny-vae"]
        assert model.size_bytes == len(stream)
        decoded = codec.decompress([stream])[0]
        assert np.array_equal(pixels_of(result.reconstructions[0].image), decoded)
        assert model.mse == pytest.approx((((decoded.astype(float) - digit) / 255) ** 2).mean())
        assert model.encode_seconds > 0
        assert all(found[name].mse == 0 for name in lossless)
        assert not found["png"].HasField("psnr_db")
        assert all(found[name].mse <= model.mse for name in lossy)
        assert all(found[name].reference_model == "tiny-vae" for name in lossy)
        assert found["zip"].size_bytes == len(zipped(digit))
        assert model.HasField("ssim")

    pooled = {m.codec: m for m in response.pooled}["tiny-vae"]
    singles = [r.measurements[0] for r in response.results]
    assert pooled.num_images == 3
    assert pooled.size_bytes == sum(m.size_bytes for m in singles)
    assert pooled.mse == pytest.approx(np.mean([m.mse for m in singles]))
    assert pooled.psnr_db == pytest.approx(-10 * math.log10(pooled.mse))
    assert pooled.mean_psnr_db == pytest.approx(np.mean([m.psnr_db for m in singles]))
    assert pooled.ssim == pytest.approx(np.mean([m.ssim for m in singles]))


def zipped(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("0", pixels.tobytes())
    return buffer.getvalue()


def test_evaluate_takes_every_model_that_accepts_the_image(compression, digits):
    options = pb.EvaluateOptions(skip_baselines=True)
    request = pb.EvaluateRequest(images=[raw(digits[0])], options=options)
    measurements = compression.Evaluate(request).results[0].measurements
    assert [m.codec for m in measurements] == ["tiny-ae", "tiny-vae"]


def test_an_image_that_fails_for_one_model_is_in_no_pool(tmp_path, serve, digits):
    make_checkpoint("ae", name="a-28").save(tmp_path / "a.safetensors")
    small = ImageSpec(height=16, width=16, channels=1)
    make_checkpoint("ae", name="b-16", spec=small).save(tmp_path / "b.safetensors")
    server = serve(models=tmp_path)
    options = pb.EvaluateOptions(models=["a-28", "b-16"], skip_baselines=True)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        response = pb_grpc.CompressionServiceStub(channel).Evaluate(
            pb.EvaluateRequest(images=[raw(d) for d in digits[:2]], options=options)
        )
    assert all(r.status.code for r in response.results)
    assert not response.pooled


def test_a_streamed_evaluation_is_pooled_at_its_end(compression, digits):
    options = pb.EvaluateOptions(baselines=[pb.BASELINE_DEFLATE])
    bad = pb.Image(encoded=b"no")
    responses = list(
        compression.StreamEvaluate(
            iter(
                [
                    pb.StreamEvaluateRequest(options=options, images=[raw(digits[0]), bad]),
                    pb.StreamEvaluateRequest(images=[raw(digits[1])]),
                ]
            )
        )
    )
    assert [r.index for m in responses for r in m.results] == [0, 1, 2]
    assert [len(m.pooled) for m in responses] == [0, 0, 3]
    assert {m.codec: m.num_images for m in responses[-1].pooled} == {
        "tiny-ae": 2,
        "deflate": 2,
        "tiny-vae": 2,
    }


def test_models_describe_themselves(models, checkpoints):
    listed = models.ListModels(pb.ListModelsRequest()).models
    assert [m.name for m in listed] == ["tiny-ae", "tiny-vae"]
    assert [m.is_default for m in listed] == [True, False]
    one = models.GetModel(pb.GetModelRequest(name="tiny-vae")).model
    assert one == listed[1]
    assert one.architecture == "vae"
    assert list(one.latent_shape) == [12, 1, 1]
    assert one.accepted_sizes[0].min_height == one.accepted_sizes[0].max_height == 28
    assert one.checkpoint_bytes == (checkpoints / "tiny-vae.safetensors").stat().st_size
    assert one.training.licence == "none"
    assert not one.HasField("measured")
    assert models.GetModel(pb.GetModelRequest()).model.name == "tiny-ae"


def test_the_server_tells_its_limits(models):
    info = models.GetServerInfo(pb.GetServerInfoRequest())
    assert info.max_images == 1024
    assert info.max_message_bytes == 64 << 20
    assert info.device == "cpu"
    assert set(info.image_formats) >= {"PNG", "JPEG", "WebP", "AVIF", "BMP", "TIFF", "GIF"}
