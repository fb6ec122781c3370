"""Images that a codec of digits is not for never take more than the classical codecs do."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from kompakt_codec.baselines import encode_at_mse, encode_lossless
from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_codec.images import Pixels
from kompakt_codec.quality import Demand, QualityUnreachableError, compress_with
from kompakt_service.settings import DEFAULT_MODELS

COUNT = 1000
LOSSLESS = ("deflate", "png", "webp-lossless")


def other_domains() -> list[Pixels]:
    """Noise of several depths, flat fields, text, photographs, ramps and patterns, 28x28 grey."""
    rng = np.random.default_rng(0)
    photo = np.asarray(Image.fromarray(load_sample_images().images[0]).convert("L"))
    makers = (_noise, _flat, _text, lambda r: _crop(photo, r), _ramp, _pattern, _sparse)
    made = [makers[i % len(makers)](rng) for i in range(COUNT)]
    return [np.ascontiguousarray(one, np.uint8)[..., None] for one in made]


def _noise(rng: np.random.Generator) -> np.ndarray:
    most = int(rng.choice([2, 4, 16, 256]))
    return rng.integers(0, most, (28, 28)) * (255 // (most - 1))


def _flat(rng: np.random.Generator) -> np.ndarray:
    return np.full((28, 28), rng.integers(256))


def _text(rng: np.random.Generator) -> np.ndarray:
    image = Image.new("L", (28, 28), int(rng.choice([0, 255])))
    words = "".join(rng.choice(list("abcdefghij0123456789"), 4))
    ink = 255 - image.getpixel((0, 0))
    ImageDraw.Draw(image).text((int(rng.integers(4)), int(rng.integers(16))), words, fill=ink)
    return np.asarray(image)


def _crop(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    top, left = rng.integers(photo.shape[0] - 28), rng.integers(photo.shape[1] - 28)
    return photo[top : top + 28, left : left + 28]


def _ramp(rng: np.random.Generator) -> np.ndarray:
    a, b = rng.integers(0, 5, 2)
    return np.add.outer(a * np.arange(28), b * np.arange(28)) % 256


def _pattern(rng: np.random.Generator) -> np.ndarray:
    side = int(rng.integers(1, 8))
    return np.resize(np.tile(rng.integers(0, 256, (side, side)), (28, 28)), (28, 28))


def _sparse(rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random((28, 28)) < rng.random() / 8, 255, 0)


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load(DEFAULT_MODELS / "mnist-context.safetensors")


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_lossless_is_never_more_than_a_byte_over_the_best(codec):
    images = other_domains()
    made = compress_with(codec, images, Demand(lossless=True), profile=Profile.EMBEDDED)
    for image, one in zip(images, made, strict=True):
        assert not isinstance(one, QualityUnreachableError)
        best = min(len(encode_lossless(name, image).data) for name in LOSSLESS)
        assert len(one.stream) <= best + 1, one.codec


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("demand", [Demand(), Demand(min_psnr_db=30.0), Demand(max_mse=0.01)])
def test_lossy_is_never_more_than_a_byte_over_webp_at_equal_error(codec, demand):
    images = other_domains()
    made = compress_with(codec, images, demand, profile=Profile.EMBEDDED, reconstruct=True)
    for image, one in zip(images, made, strict=True):
        assert not isinstance(one, QualityUnreachableError)
        assert one.mse is not None
        if demand.mse_bound is not None:
            assert one.mse <= demand.mse_bound
        webp = encode_at_mse("webp", image, one.mse)
        assert webp is None or len(one.stream) <= len(webp.data) + 1, one.codec
