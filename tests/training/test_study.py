import pytest

from kompakt_codec.baselines import BASELINES
from kompakt_codec.codec import Codec
from kompakt_codec.errors import BaselineUnavailableError
from kompakt_training.study import MAX_IMAGES, TITLES, Study, _sample


class Missing:
    def require(self):
        raise BaselineUnavailableError("no such library")


@pytest.fixture(scope="module")
def codec(level_checkpoint):
    return Codec.load(level_checkpoint)


@pytest.fixture(scope="module")
def study(codec, digits):
    return Study.of(codec, digits[:5])


def test_the_model_stands_at_its_default_level(study, codec):
    assert len(study.model) == len(codec.levels)
    assert study.own == study.model[codec.header.default_level]
    assert study.own.setting == "level=2"


def test_every_classical_codec_is_there(study):
    assert {*study.curves, *(point.codec for point in study.lossless)} == set(BASELINES)
    assert set(TITLES) == set(BASELINES)
    assert study.equal.keys() == study.curves.keys()
    assert study.unavailable == []


def test_the_best_is_the_smallest_of_those_that_are_no_worse(study):
    no_worse = [point for point in (*study.equal.values(), *study.lossless) if point]

    assert all(point.mse <= study.own.mse for point in no_worse)
    assert study.best.bytes_per_image == min(point.bytes_per_image for point in no_worse)
    assert study.is_worth_while == (study.own.bytes_per_image < study.best.bytes_per_image)


def test_a_codec_without_its_library_is_left_out_and_named(codec, digits, monkeypatch):
    monkeypatch.setitem(BASELINES, "avif", Missing())
    monkeypatch.setitem(BASELINES, "png", Missing())

    study = Study.of(codec, digits[:1])

    assert "avif" not in study.curves
    assert "png" not in [point.codec for point in study.lossless]
    assert study.unavailable == ["no such library"] * 2


def test_many_or_large_images_are_sampled(digits):
    assert len(_sample(digits.repeat(2, axis=0))) == MAX_IMAGES
    assert len(_sample(digits.repeat(16, axis=1).repeat(16, axis=2)[:40])) == 10
