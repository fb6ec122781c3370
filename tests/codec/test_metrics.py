"""MSE, PSNR and SSIM against plain formulas and scikit-image."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.metrics import structural_similarity
from sklearn.datasets import load_sample_images

from kompakt_codec import metrics
from kompakt_codec.images import Pixels
from kompakt_codec.metrics import mse, psnr_db, squared_error, ssim

PHOTO: Pixels = load_sample_images().images[0]


def noisy(pixels: Pixels, amount: int = 20) -> Pixels:
    noise = np.random.default_rng(0).integers(-amount, amount, pixels.shape)
    clipped: Pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return clipped


def skimage_ssim(a: Pixels, b: Pixels) -> Any:
    return structural_similarity(  # type: ignore[no-untyped-call]
        a,
        b,
        channel_axis=2,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


@given(
    pair=hnp.arrays(np.uint8, st.tuples(st.just(2), st.integers(1, 20), st.integers(1, 20))),
)
def test_mse_is_exact(pair: Pixels) -> None:
    differences = [int(x) - int(y) for x, y in zip(*pair.reshape(2, -1), strict=True)]
    total = sum(d * d for d in differences)

    assert squared_error(*pair) == total
    assert mse(*pair) == total / (len(differences) * 255**2)


def test_mse_does_not_overflow() -> None:
    black, white = np.zeros((600, 600, 3), np.uint8), np.full((600, 600, 3), 255, np.uint8)

    assert mse(black, white) == 1.0
    assert mse(white, black) == 1.0


@pytest.mark.parametrize(
    ("error", "decibels"), [(1.0, 0.0), (0.01, 20.0), (0.0027, 25.686), (0.0138, 18.601)]
)
def test_psnr_in_decibels(error: float, decibels: float) -> None:
    assert psnr_db(error) == pytest.approx(decibels, abs=1e-3)


def test_psnr_of_no_error_is_infinite() -> None:
    assert psnr_db(0.0) == math.inf


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(PHOTO[:120, :160], id="photo"),
        pytest.param(PHOTO[200:228, 300:328], id="28x28"),
        pytest.param(PHOTO[:11, :11], id="one window"),
        pytest.param(PHOTO[:90, :13], id="narrow"),
        pytest.param(PHOTO[:28, :28, :1], id="grey"),
        pytest.param(np.full((20, 20, 1), 7, np.uint8), id="flat"),
    ],
)
def test_ssim_agrees_with_scikit_image(pixels: Pixels) -> None:
    other = noisy(pixels)

    assert ssim(pixels, other) == pytest.approx(skimage_ssim(pixels, other), abs=1e-9)


def test_ssim_of_digits_agrees_with_scikit_image(digits: Pixels) -> None:
    for digit in digits[:20]:
        other = noisy(digit, 60)

        assert ssim(digit, other) == pytest.approx(skimage_ssim(digit, other), abs=1e-9)


def test_ssim_of_equal_images_is_one() -> None:
    assert ssim(PHOTO[:40, :40], PHOTO[:40, :40]) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("shape", [(10, 40, 1), (40, 10, 3)])
def test_ssim_needs_eleven_pixels(shape: tuple[int, int, int]) -> None:
    assert ssim(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)) is None


def test_blocks_of_rows_do_not_change_ssim(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = PHOTO[:50, :30]
    whole = ssim(pixels, noisy(pixels))

    monkeypatch.setattr(metrics, "_BLOCK_PIXELS", 7 * 30)

    assert ssim(pixels, noisy(pixels)) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("metric", [squared_error, mse, ssim])
def test_images_must_have_one_shape(metric: Any) -> None:
    with pytest.raises(ValueError, match="different shapes"):
        metric(np.zeros((28, 28, 1), np.uint8), np.zeros((28, 28, 3), np.uint8))
