"""Evaluate, and lists of models, where models take images of any size."""

import csv
import io
import json

import numpy as np
import pytest

from kompakt.v1 import compression_pb2 as pb
from kompakt_client.cli import main
from kompakt_codec.metrics import mse

RANGE = {"min_height": 1, "max_height": 65_535, "min_width": 1, "max_width": 65_535}


def test_evaluate_takes_every_model_that_accepts_each_image(client, photo):
    colour = photo[:30, :20]
    grey, digit = colour[..., :1], photo[:28, :28, :1]
    done = client.evaluate([colour, grey, digit], baselines=[])

    found = [[m.codec for m in one.measurements] for one in done.images[:3]]
    both = ["any-grey", "any-rgb"]
    assert found == [["any-rgb"], both, [*both, "tiny-vae"]]
    assert not done.failures


def test_evaluate_measures_every_size_and_pools_by_pixels(client, codec, images):
    done = client.evaluate(
        images, models=["any-rgb"], baselines=["png", "webp"], reconstructions=True
    )

    streams = codec.compress(images)
    decoded = codec.decompress(streams)
    for image, one, stream, picture in zip(images, done.images, streams, decoded, strict=True):
        model, png, webp = one.measurements
        assert (model.codec, model.size_bytes) == ("any-rgb", len(stream))
        assert model.mse == pytest.approx(mse(image, picture), rel=1e-5)
        reconstruction = one.reconstructions["any-rgb"]
        assert reconstruction.shape == image.shape
        assert np.abs(reconstruction.astype(int) - picture).max() <= 1
        assert png.mse == 0
        assert webp.mse <= model.mse
    pooled = done.pooled[0]
    errors = [m.measurements[0].mse for m in done.images]
    weights = [image.size for image in images]
    assert pooled.num_images == len(images)
    assert pooled.size_bytes == sum(map(len, streams))
    assert pooled.mse == pytest.approx(np.average(errors, weights=weights))


def test_evaluate_fits_what_a_model_does_not_accept(client, photo):
    done = client.evaluate([photo[:7, :14]], baselines=[], fit="contain", reconstructions=True)
    shapes = {name: r.shape for name, r in done.images[0].reconstructions.items()}
    assert shapes == {"any-grey": (7, 14, 1), "any-rgb": (7, 14, 3), "tiny-vae": (28, 28, 1)}


def test_models_tell_their_sizes(models, client):
    listed = {m.name: m for m in models.ListModels(pb.ListModelsRequest()).models}
    assert list(listed["any-rgb"].accepted_sizes) == [pb.SizeRange(**RANGE)]
    assert listed["tiny-vae"].accepted_sizes[0].max_height == 28
    one = models.GetModel(pb.GetModelRequest()).model
    assert one == listed["any-rgb"]
    assert list(one.latent_shape) == [36, 1, 1]
    assert client.model("any-grey").accepted_sizes[0].max_width == 65_535


def test_the_command_line_lists_the_sizes(server, capsys):
    target = f"127.0.0.1:{server.port}"
    assert main(["models", "--target", target]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split() for line in lines[1:] if line.strip()}
    assert "1x1-65535x65535" in rows["any-rgb"]
    assert "28x28" in rows["tiny-vae"]
    assert main(["models", "any-grey", "--target", target, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["accepted_sizes"] == [RANGE]
    assert main(["models", "--target", target, "--csv"]) == 0
    table = csv.DictReader(io.StringIO(capsys.readouterr().out))
    sizes = [row["accepted_sizes"] for row in table]
    assert sizes == ["1x1-65535x65535", "1x1-65535x65535", "28x28"]
