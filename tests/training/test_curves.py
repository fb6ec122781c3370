import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kompakt_codec.baselines import BASELINES
from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_codec.metrics import mse
from kompakt_training.curves import LossyCurve, Point, front, lossless_points, model_curve

NUM_IMAGES = 4


@pytest.fixture(scope="module")
def images(digits):
    return digits[:NUM_IMAGES]


def measured(name, images, quality, variant=""):
    """Bytes an image and pooled MSE, worked out here."""
    files = [BASELINES[name].encode(image, quality, variant) for image in images]
    decoded = [BASELINES[name].decode(data, images.shape[1:]) for data in files]
    return sum(map(len, files)) / len(images), mse(images, np.stack(decoded))


def test_a_point_is_of_real_files(images):
    point = LossyCurve("webp", images).at(20, "")

    assert (point.bytes_per_image, point.mse) == measured("webp", images, 20)
    assert (point.codec, point.setting) == ("webp", "quality=20")
    assert point.psnr_db == pytest.approx(-10 * np.log10(point.mse))


@pytest.mark.parametrize("name", ["webp", "jpeg", "jpeg-xl"])
def test_within_finds_the_quality_where_the_error_comes_to_be_small_enough(images, name):
    bound = 0.003
    point = LossyCurve(name, images).within(bound)

    quality = int(point.setting.split()[0].removeprefix("quality="))
    variant = point.setting.partition(" ")[2]
    assert point.mse <= bound
    assert (point.bytes_per_image, point.mse) == measured(name, images, quality, variant)
    assert measured(name, images, quality - 1, variant)[1] > bound


def test_within_is_none_where_no_quality_reaches_it(images):
    assert LossyCurve("webp", images).within(0) is None
    assert LossyCurve("jpeg-xl", images).within(0).setting == "quality=100"


def test_a_front_spans_from_the_smallest_files_to_the_best(images):
    points = LossyCurve("jpeg", images).front()

    sizes = [point.bytes_per_image for point in points]
    assert sizes == sorted(sizes)
    assert points[0].bytes_per_image == min(
        measured("jpeg", images, 1, variant)[0] for variant in ("", "progressive")
    )
    assert points[-1].mse < 0.0002 < points[0].mse


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), min_size=1))
def test_no_point_of_a_front_is_beaten(pairs):
    points = [Point(codec="c", setting="", bytes_per_image=b, mse=e) for b, e in pairs]

    best = front(points)

    assert all(
        any(b.bytes_per_image <= p.bytes_per_image and b.mse <= p.mse for b in best) for p in points
    )
    assert [p.mse for p in best] == sorted({p.mse for p in best}, reverse=True)
    assert [p.bytes_per_image for p in best] == sorted({p.bytes_per_image for p in best})


def test_a_file_fills_the_bytes_it_may_take_or_is_the_smallest(images):
    curve, image = LossyCurve("webp", images), images[0]
    sizes = [len(BASELINES["webp"].encode(image, quality, "")) for quality in range(101)]

    fitting, none = curve.file_of(image, 200), curve.file_of(image, 3)

    assert fitting.num_bytes in sizes
    assert 180 < fitting.num_bytes <= 200
    assert none.num_bytes == sizes[0]
    assert mse(image, fitting.decoded) < mse(image, none.decoded)


def test_a_models_points_are_of_its_embedded_frames(level_checkpoint, images):
    codec = Codec.load(level_checkpoint)

    points = model_curve(codec, images)

    frames = codec.compress(list(images), profile=Profile.EMBEDDED, level=3)
    decoded = codec.decompress(frames, profile=Profile.EMBEDDED)
    assert [point.setting for point in points] == [f"level={level}" for level in range(5)]
    assert points[3].bytes_per_image == sum(map(len, frames)) / NUM_IMAGES
    assert points[3].mse == pytest.approx(mse(images, np.stack(decoded)), rel=1e-9)


def test_lossless_points_are_without_error_and_in_order(images):
    points = lossless_points(["zip", "png", "deflate"], images)

    sizes = [point.bytes_per_image for point in points]
    assert points[0].codec == "deflate"
    assert sizes == sorted(sizes)
    assert {(point.mse, point.psnr_db) for point in points} == {(0, float("inf"))}
