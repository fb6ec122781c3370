"""The promise of the default models, on all 10,000 test digits, decoded by a running service."""

import numpy as np
import pytest

from kompakt_client import Client

PAPER_MSE = {"mnist-ae": 0.0027, "mnist-context": 0.0027, "mnist-cvae": 0.0138, "mnist-vae": 0.0138}


@pytest.mark.slow
@pytest.mark.parametrize("model", PAPER_MSE)
@pytest.mark.parametrize("profile", ["file", "embedded"])
def test_all_test_digits_are_better_than_the_papers(target, test_digits, model, profile):
    with Client(target) as client:
        info = client.model(model)
        made = [
            result.unwrap()
            for result in client.compress_many(test_digits, model=model, profile=profile)
        ]
        back = [result.unwrap().to_numpy() for result in client.decompress_many(made)]

    error = (np.stack(back).astype(float) - test_digits) / 255
    mean_bytes = np.mean([one.num_bytes for one in made])
    assert len(back) == 10_000
    assert (error**2).mean() <= PAPER_MSE[model]
    assert info.measured is not None
    assert (error**2).mean() == pytest.approx(info.measured.mse, rel=1e-3)
    framing = 10 if profile == "file" else 0
    assert mean_bytes - framing == pytest.approx(info.measured.bytes_per_image, rel=1e-3)


@pytest.mark.parametrize("model", PAPER_MSE)
def test_each_image_alone_and_in_a_batch_decodes_alike(target, digits, model):
    with Client(target) as client:
        made = [r.unwrap() for r in client.compress_batch(digits[:64], model=model)]
        whole = np.stack([r.unwrap().to_numpy() for r in client.decompress_batch(made)])
        alone = np.stack([client.decompress(one).to_numpy() for one in made])
    assert np.abs(whole.astype(int) - alone).max() <= 1
