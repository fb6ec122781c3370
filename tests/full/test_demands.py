"""A demanded quality holds for every one of the test digits, measured on what comes back."""

import numpy as np
import pytest

from kompakt_client import Client
from kompakt_codec.metrics import mse, psnr_db

MODEL = "mnist-context"


def served(client: Client, images: np.ndarray, **demand: float) -> list[tuple[int, float]]:
    """Bytes of each embedded stream, and the PSNR in dB of what it decodes to."""
    options = {"model": MODEL, "profile": "embedded"}
    made = [r.unwrap() for r in client.compress_many(images, **options, **demand)]
    back = [r.unwrap().to_numpy() for r in client.decompress_many(made)]
    assert len(back) == len(images)
    return [
        (one.num_bytes, psnr_db(mse(image, decoded)))
        for one, image, decoded in zip(made, images, back, strict=True)
    ]


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("min_psnr_db", [18.0, 22.0, 27.0])
def test_every_digit_is_as_good_as_demanded(client, test_digits, min_psnr_db):
    results = served(client, test_digits, min_psnr_db=min_psnr_db)
    print(f"bytes per image: {float(np.mean([size for size, _ in results]))}")
    assert all(psnr >= min_psnr_db for _, psnr in results)


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("max_bytes", [8, 14, 24])
def test_every_digit_takes_no_more_than_demanded(client, test_digits, max_bytes):
    """Or it fails, and the error tells the fewest bytes: for few images, which then fit those."""
    options = {"model": MODEL, "profile": "embedded"}
    missed = []
    results = client.compress_many(test_digits, max_bytes=max_bytes, **options)
    sizes = []
    for image, result in zip(test_digits, results, strict=True):
        if hasattr(result, "error"):
            missed.append((image, result.error))
        else:
            sizes.append(result.num_bytes)
    print(f"refused: {len(missed)}")
    assert all(size <= max_bytes for size in sizes)
    for image, error in missed:
        assert error.size_bytes > max_bytes
        assert client.compress(image, max_bytes=error.size_bytes, **options).num_bytes <= (
            error.size_bytes
        )
    assert len(missed) < len(test_digits) / 20
