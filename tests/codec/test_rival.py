"""The contest of large images with the classical codecs."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from kompakt_codec.classical import (
    cannot_win,
    encode_classical,
    encode_classical_avif,
    encode_classical_lossless,
    encode_classical_near,
)
from kompakt_codec.codec import Codec
from kompakt_codec.models import ImageSpec
from kompakt_codec.quality import (
    Demand,
    Fallback,
    Made,
    QualityUnreachableError,
    compress_with,
)
from kompakt_codec.quality._rival import (
    ANY_LENGTH,
    LARGE,
    challenger,
    lossless_may_win,
    may_be_of_use,
)
from kompakt_service.settings import DEFAULT_MODELS
from tests.codec.classical_images import images
from tests.support import make_any_size_checkpoint


@pytest.mark.parametrize("limit", [5, 9, 13, 17])
def test_no_search_that_is_of_use_is_left_out_of_small_images(digits, limit):
    ruled_out = 0
    for pixels in [*images(5, 90), *digits[:10] // 52 * 52]:
        if not may_be_of_use(pixels[None], np.array([limit]), avif=False)[0]:
            ruled_out += 1
            assert len(encode_classical(pixels, 1.0).payload) >= limit
    assert ruled_out >= 10


def test_nor_one_in_which_avif_is_of_use():
    ruled_out, won = 0, 0
    for pixels in images(6, 27, side=128):
        body = encode_classical_avif(pixels, 1.0)
        assert body is not None
        for limit in (12, 20, 26, 40):
            if may_be_of_use(pixels[None], np.array([limit]), avif=True)[0]:
                won += len(body.payload) < limit
            else:
                ruled_out += 1
                assert len(body.payload) >= limit
    assert ruled_out >= 10
    assert won >= 10


def test_a_thorough_contest_finds_an_avif_shorter_than_any_webp():
    codec = Codec.load(DEFAULT_MODELS / "photos-hyperprior.safetensors")
    noise = 120 + np.random.default_rng(0).integers(0, 2, (128, 128, 3), np.uint8)
    best, thorough = (
        compress_with(codec, [noise], Demand(level=0, fallback=fallback))[0]
        for fallback in (Fallback.BEST, Fallback.THOROUGH)
    )
    assert isinstance(best, Made)
    assert isinstance(thorough, Made)
    assert thorough.codec == "avif"
    assert len(thorough.stream) < len(best.stream)


def test_digits_of_five_values_need_no_search(digits):
    few = digits[:40] // 52 * 52
    limits = np.full(len(few), 10)
    assert not cannot_win(few, limits).any()
    assert not may_be_of_use(few, limits, avif=False).any()
    flat = np.full_like(few[:2], 52)
    assert may_be_of_use(flat, limits[:2], avif=False).all()


@pytest.fixture(scope="module")
def large():
    """A piece of a photo, uint8 (270, 300, 3), and an MSE that a model may have."""
    piece = np.ascontiguousarray(load_sample_images().images[0][100:370, 200:500])
    assert piece[..., 0].size >= LARGE
    return piece, 0.002


def test_the_challenger_of_a_large_image_is_that_of_the_whole_search(large):
    pixels, bound = large
    whole = encode_classical(pixels, bound)

    body = challenger(pixels, len(whole.payload) + 1, bound, max_payload=None)

    assert body is not None
    assert body.codec == "webp"
    assert body.mse <= bound
    assert len(body.payload) <= len(whole.payload)
    assert challenger(pixels, len(whole.payload) // 2, bound, max_payload=None) is None


def test_at_the_coarsest_quality_only_the_careful_encoder_tells():
    rng = np.random.default_rng(3)
    page, file = Image.new("RGB", (256, 256), (250, 248, 240)), io.BytesIO()
    for row in range(4, 250, 30):
        words = "".join(rng.choice(list("abcdefgh  ijklmno"), 20))
        ImageDraw.Draw(page).text((4, row), words, fill=(20, 20, 60))
    page.save(file, "JPEG", quality=60)
    pixels = np.asarray(Image.open(file))
    best = encode_classical_near(pixels, 0.01, range(101))
    assert best is not None
    limit = round(1.01 * len(best.payload))
    assert not lossless_may_win(pixels, limit)

    body = challenger(pixels, limit, 0.01, max_payload=None)

    assert body is not None
    assert len(body.payload) == len(best.payload)


def test_a_large_image_within_bytes_takes_the_finest_quality_that_fits(large):
    pixels, _ = large
    most = 6000

    body = challenger(pixels, ANY_LENGTH, 0.1, max_payload=most)

    assert body is not None
    assert 0.8 * most < len(body.payload) <= most
    assert challenger(pixels, most, body.mse / 2, max_payload=most) is None


def test_a_large_flat_image_is_lossless_in_a_few_bytes(large):
    flat = np.full_like(large[0], 90)
    flat[100:130, 50:200] = (200, 30, 60)
    body = challenger(flat, 1000, 0.001, max_payload=None)
    assert body is not None
    assert len(body.payload) < 200


def regular(side: int) -> list[np.ndarray]:
    """Images of which lossless WebP makes little, and DEFLATE several times as much."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    tile = np.tile(rng.integers(0, 2, (9, 9)), (side // 9 + 1, side // 9 + 1))[:side, :side]
    disc = np.hypot(x - side / 2, y - side / 2) < side / 3
    two = [x // 3 % 2, (x + y) // 7 % 2, tile, disc, rng.integers(0, 2, (side, side))]
    several = [np.zeros_like(x), x * 255 // side, (x + y) * 255 // (2 * side)]
    greys = [255 * grey for grey in two] + several
    return [grey.astype(np.uint8)[..., None].repeat(3, axis=2) for grey in greys]


@pytest.mark.parametrize("side", [40, 100])
def test_what_repeats_itself_is_tried_without_loss(side):
    for pixels in regular(side):
        most = len(encode_classical_lossless(pixels).payload)
        assert lossless_may_win(pixels, most + 1)
        body = challenger(pixels, most + 1, 1.0, max_payload=most)
        assert body is not None
        assert (body.mse, len(body.payload)) == (0, most)


@pytest.mark.parametrize("fallback", [Fallback.BEST, Fallback.THOROUGH])
def test_the_nearest_to_bytes_that_no_stream_fits_is_a_classic_if_that_is_shorter(fallback):
    codec = Codec(make_any_size_checkpoint(spec=ImageSpec(height=16, width=24, channels=3)))
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    [refused] = compress_with(codec, [noise], Demand(max_bytes=20, fallback=fallback))
    assert isinstance(refused, QualityUnreachableError)
    coarsest = encode_classical(noise, 1.0)
    assert refused.size_bytes <= len(coarsest.payload) + 14

    [nearest] = compress_with(
        codec, [noise], Demand(max_bytes=refused.size_bytes, fallback=fallback)
    )
    assert isinstance(nearest, Made)
    assert len(nearest.stream) <= refused.size_bytes
    assert (nearest.codec == "avif") == (fallback is Fallback.THOROUGH)


def test_a_banner_whose_top_alone_is_busy_is_lossless():
    banner = np.full((128, 640, 3), 255, np.uint8)
    banner[:16] = np.where(np.random.default_rng(0).random((16, 640, 1)) < 0.5, 0, 255)
    lossless = encode_classical_lossless(banner)
    body = challenger(banner, 2 * len(lossless.payload), 0.003, max_payload=None)
    assert body is not None
    assert len(body.payload) <= len(lossless.payload)


@pytest.mark.parametrize("demand", [Demand(), Demand(max_bytes=30_000), Demand(max_bytes=60)])
def test_images_longer_than_webp_holds_are_contested_without_it(demand):
    codec = Codec(make_any_size_checkpoint(spec=ImageSpec(height=16, width=24, channels=3)))
    flat = np.full((3, 17_200, 3), 60, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (3, 17_200, 3), np.uint8)
    first, second = compress_with(codec, [flat, noise], demand)
    assert isinstance(first, Made)
    assert len(first.stream) < 60
    assert isinstance(second, Made) == (demand.max_bytes != 60)
