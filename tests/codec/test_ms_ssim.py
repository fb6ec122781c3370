"""MS-SSIM: known properties, and values of another implementation."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from kompakt_codec.images import Pixels
from kompakt_codec.metrics import ssim
from kompakt_codec.ms_ssim import MS_SSIM_SIDE, ms_ssim

CHINA, FLOWER = load_sample_images().images


def noisy(pixels: Pixels, amount: int) -> Pixels:
    noise = np.random.default_rng(0).integers(-amount, amount, pixels.shape, endpoint=True)
    clipped: Pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return clipped


def value(a: Pixels, b: Pixels) -> float:
    found = ms_ssim(a, b)
    assert found is not None
    return found


@pytest.mark.parametrize("shape", [(161, 161), (161, 330), (427, 200)])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_one_with_itself(shape: tuple[int, int], channels: int) -> None:
    image = CHINA[: shape[0], : shape[1], :channels]

    assert value(image, image) == pytest.approx(1, abs=1e-6)


def test_it_is_symmetric_and_falls_with_noise() -> None:
    values = [value(CHINA, noisy(CHINA, amount)) for amount in (2, 10, 40, 120)]

    assert values == sorted(values, reverse=True)
    assert 1 > values[0] > 0.99
    assert 0.9 > values[-1] > 0
    assert value(noisy(CHINA, 40), CHINA) == values[2]


@pytest.mark.parametrize(("channels", "expected"), [(3, 0.8307650), (1, 0.8260789)])
def test_it_agrees_with_pytorch_msssim(channels: int, expected: float) -> None:
    image = CHINA[:416, :640, :channels]  # of sides that halve evenly: others' ends differ
    other = noisy(CHINA[:416, :640, :channels], 40)

    assert value(image, other) == pytest.approx(expected, abs=1e-5)


def test_fine_noise_counts_for_less_than_at_a_single_scale() -> None:
    other = noisy(CHINA, 40)

    assert value(CHINA, other) > (ssim(CHINA, other) or 1)


def test_different_photographs_have_little_in_common_and_a_negative_none() -> None:
    assert value(CHINA, FLOWER) < 0.3
    assert value(CHINA, 255 - CHINA) == 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc tells the peak")
def test_three_channels_take_hardly_more_memory_than_one() -> None:
    done = subprocess.run([sys.executable, "-c", _PEAKS], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    before, grey, rgb = map(int, done.stdout.split())
    assert rgb - grey < (grey - before) / 2


_PEAKS = """
import re
import numpy as np
from kompakt_codec.ms_ssim import ms_ssim

def peak_kib():
    with open("/proc/self/status") as file:
        return re.search(r"VmHWM:\\s+(\\d+)", file.read())[1]

image = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)
ms_ssim(image[:200, :200], image[:200, :200])
peaks = [peak_kib()]
for channels in (1, 3):
    ms_ssim(image[..., :channels], image[..., :channels])
    peaks.append(peak_kib())
print(*peaks)
"""


def test_small_images_have_none_and_shapes_must_agree() -> None:
    short = np.zeros((MS_SSIM_SIDE - 1, MS_SSIM_SIDE, 3), np.uint8)

    assert ms_ssim(short, short) is None
    with pytest.raises(ValueError, match="different shapes"):
        ms_ssim(short, short[1:])
