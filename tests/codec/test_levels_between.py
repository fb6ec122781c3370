"""Levels between two: the same checkpoint, in steps of an eighth, and nearer to a demand."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from kompakt_codec.codec import Codec
from kompakt_codec.errors import UnsupportedVersionError
from kompakt_codec.frame import Profile, mode_of, pack_frame, parse_frame
from kompakt_codec.metrics import mse, psnr_db
from kompakt_codec.models import ImageSpec
from kompakt_codec.quality import Demand, Fallback, compress_with
from kompakt_service.settings import DEFAULT_MODELS
from tests.support import make_any_size_checkpoint

NEVER = Fallback.NEVER


@pytest.fixture(scope="module")
def codec():
    return Codec.load(DEFAULT_MODELS / "photos.safetensors")


@pytest.fixture(scope="module")
def photos():
    china, flower = load_sample_images().images
    return [flower[150:250, 80:230], flower[:120, 250:450], china[:9, :11]]


def test_eighths_lie_between_their_neighbours(codec, photos):
    levels = np.arange(8 * 9, 8 * 11 + 1) / 8
    made = [codec.compress(photos[:2], level=level) for level in levels]
    sizes = [sum(map(len, streams)) for streams in made]
    losses = [np.mean([*map(mse, photos, codec.decompress(streams))]) for streams in made]
    # A step may not pay in one of the two, but two of them do in both.
    assert all(a < b for a, b in zip(sizes, sizes[2:], strict=False))
    assert all(a > b for a, b in zip(losses, losses[2:], strict=False))


@pytest.mark.parametrize("profile", Profile)
def test_one_call_takes_levels_of_all_kinds(codec, photos, profile):
    levels = [9.375, 4, 11.5]
    streams = codec.compress(photos, level=levels, profile=profile)
    assert [parse_frame(s, profile).level for s in streams] == levels
    for photo, level, stream in zip(photos, levels, streams, strict=True):
        assert codec.compress([photo], level=level, profile=profile) == [stream]
    pictures = codec.decompress(streams, profile=profile)
    assert [p.shape for p in pictures] == [p.shape for p in photos]


@pytest.mark.parametrize("level", [-0.5, 9.1, 12.125, 13])
def test_other_levels_are_refused(codec, photos, level):
    with pytest.raises(ValueError, match="levels must be from 0 to 12 in steps of 1/8"):
        codec.compress(photos, level=level)
    with pytest.raises(ValueError, match=r"^level must be (a finite|from 0 to 12 in steps of 1/8)"):
        compress_with(codec, photos, Demand(level=level))


@pytest.mark.parametrize("level", [-0.5, 9.1, 12.125, 12.5, 13, float("nan")])
def test_no_stream_is_made_of_a_level_that_does_not_exist(codec, photos, level):
    symbols = codec.analyse(photos[2][None], [9])
    with pytest.raises(ValueError, match="levels must be from 0 to 12 in steps of 1/8"):
        codec.encode(symbols, [level], (9, 11), profile=Profile.FILE)
    with pytest.raises(ValueError, match="levels must be from 0 to 12 in steps of 1/8"):
        codec.compress(photos[2:], level=level)


def test_a_model_of_one_level_has_none_between():
    spec = ImageSpec(height=16, width=24, channels=3)
    assert not Codec(make_any_size_checkpoint(spec=spec, levels=1)).levels.has_between
    assert Codec(make_any_size_checkpoint(spec=spec, levels=2)).levels.has_between


def test_models_without_refuse_them(level_checkpoint, digits):
    codec = Codec.load(level_checkpoint)
    assert not codec.levels.has_between
    with pytest.raises(ValueError, match=r"levels must be a whole number from 0 to 4$"):
        codec.compress(digits[:1], level=1.5)
    [symbols] = codec.analyse(digits[:1], [1])
    mode, prefix = mode_of(1.5)
    fingerprint = codec.fingerprint
    stream = pack_frame(prefix, symbols, fingerprint, profile=Profile.FILE, mode=mode)
    with pytest.raises(
        UnsupportedVersionError, match=r"rate level 1\.5; .* a whole number from 0 to 4"
    ):
        codec.decompress([stream])


def test_a_level_beyond_the_last_is_refused(codec, photos):
    mode, prefix = mode_of(12.5)
    [symbols] = codec.analyse(photos[2][None], [12])
    stream = pack_frame(
        prefix, symbols, codec.fingerprint, profile=Profile.FILE, mode=mode, size=(9, 11)
    )
    with pytest.raises(UnsupportedVersionError, match=r"12\.5; .* in steps of 1/8"):
        codec.decompress([stream])


def whole_only(codec, images, demand, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(codec, "levels", replace(codec.levels, has_between=False))
        return compress_with(codec, images, demand)


@pytest.mark.parametrize("db", [28.0, 31.0, 34.0])
def test_a_psnr_is_met_more_closely_than_by_whole_levels(codec, photos, db, monkeypatch):
    images, demand = photos[:2], Demand(min_psnr_db=db, fallback=NEVER)
    whole = whole_only(codec, images, demand, monkeypatch)

    made = compress_with(codec, images, demand)

    for image, one, other in zip(images, made, whole, strict=True):
        assert one.mse == mse(image, codec.decompress([one.stream])[0])
        assert db <= psnr_db(one.mse) < db + 0.5
        assert other.level - 1 < one.level <= other.level
        assert len(one.stream) <= len(other.stream)


@pytest.mark.parametrize("most", [500, 900])
def test_bytes_are_used_more_fully_than_by_whole_levels(codec, photos, most, monkeypatch):
    images, demand = photos[:2], Demand(max_bytes=most, fallback=NEVER)
    whole = whole_only(codec, images, demand, monkeypatch)

    made = compress_with(codec, images, demand)

    for image, one, other in zip(images, made, whole, strict=True):
        assert len(one.stream) <= most
        assert other.level <= one.level < other.level + 1
        assert one.mse <= other.mse
        [next_stream] = codec.compress([image], level=one.level + 0.125)
        assert len(next_stream) > most


def test_a_whole_level_of_less_error_is_kept_where_bytes_are_few(codec, monkeypatch):
    flower = load_sample_images().images[1]
    piece, demand = flower[150:246, 80:176], Demand(max_bytes=69, fallback=NEVER)
    [whole] = whole_only(codec, [piece], demand, monkeypatch)
    [made] = compress_with(codec, [piece], demand)
    assert made.mse <= whole.mse


def test_a_whole_level_of_fewer_bytes_is_kept_in_kilobytes_too(codec, monkeypatch):
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::4] = 255
    demand = Demand(min_psnr_db=25.588, fallback=NEVER)
    [whole] = whole_only(codec, [stripes], demand, monkeypatch)
    [made] = compress_with(codec, [stripes], demand)
    assert len(made.stream) <= len(whole.stream)


def test_a_whole_level_is_kept_where_the_name_of_another_costs_more(codec, monkeypatch):
    flat = np.full((8, 8, 3), 90, np.uint8)
    flat[2:5, 3:6] = 140
    kept = []
    for db in range(16, 30, 2):
        demand = Demand(min_psnr_db=db, fallback=NEVER)
        [whole] = whole_only(codec, [flat], demand, monkeypatch)
        [made] = compress_with(codec, [flat], demand)
        assert len(made.stream) <= len(whole.stream)
        kept.append(made.level == whole.level)
    assert any(kept)
