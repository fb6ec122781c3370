"""Demands are met by what was really coded and decoded, or refused with what is nearest."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kompakt_codec.classical import (
    encode_classical,
    encode_classical_lossless,
)
from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_codec.metrics import mse, psnr_db
from kompakt_codec.models import ImageSpec
from kompakt_codec.quality import (
    Demand,
    Fallback,
    Made,
    QualityUnreachableError,
    compress_with,
    warm_up,
)
from kompakt_codec.quality._rival import (
    challenger,
    lossless_may_win,
)
from tests.codec.streams import decoded
from tests.support import make_any_size_checkpoint, several_domains

FRAMING = {Profile.FILE: 12, Profile.EMBEDDED: 2}


@pytest.fixture(scope="module")
def codec(level_checkpoint):
    return Codec.load(level_checkpoint)


@pytest.fixture(scope="module")
def images(digits):
    return [*digits[:6], *several_domains()]


def every_level(codec: Codec, pixels: np.ndarray, profile: Profile) -> list[tuple[int, float]]:
    """The length and MSE of an image's stream at each level."""
    levels = list(range(len(codec.levels)))
    symbols = codec.analyse(np.stack([pixels] * len(codec.levels)), levels)
    streams = codec.encode(symbols, levels, pixels.shape[:2], profile=profile)
    pictures = codec.synthesise(symbols, levels)
    return [(len(s), mse(pixels, p)) for s, p in zip(streams, pictures, strict=True)]


@given(st.floats(0, 4000))
def test_a_psnr_is_a_bound_on_mse_that_does_not_let_less_pass(db):
    bound = Demand(min_psnr_db=db).mse_bound

    assert psnr_db(bound) >= db
    assert bound == pytest.approx(10 ** (-db / 10), rel=1e-9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_psnr_db": math.nan}, "min_psnr_db must be a finite number from 0, not nan"),
        ({"min_psnr_db": math.inf}, "min_psnr_db must be a finite number from 0, not inf"),
        ({"max_mse": -0.1}, r"max_mse must be a finite number from 0, not -0\.1"),
        ({"max_mse": 65.0}, "max_mse is on a scale from 0 to 1, not 65"),
        ({"level": 1, "lossless": True}, "only one quality .* level and lossless"),
        ({"max_mse": 0.0, "max_bytes": 0}, "only one quality .* max_mse and max_bytes"),
    ],
)
def test_demands_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Demand(**values)


def test_a_level_that_the_model_lacks_is_refused(codec, images):
    with pytest.raises(ValueError, match="level must be a whole number from 0 to 4"):
        compress_with(codec, images[:1], Demand(level=5))


def test_no_images_give_no_streams(codec):
    assert compress_with(codec, [], Demand(max_bytes=5)) == []


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize(
    "demand",
    [
        Demand(min_psnr_db=18),
        Demand(min_psnr_db=23),
        Demand(min_psnr_db=45),
        Demand(max_mse=0.006),
        Demand(max_mse=0.0),
        Demand(lossless=True),
    ],
)
def test_distortion_is_kept_for_every_image(codec, images, demand, profile):
    for pixels, made in zip(
        images, compress_with(codec, images, demand, profile=profile, reconstruct=True), strict=True
    ):
        picture = decoded(codec, made.stream, profile)
        assert mse(pixels, picture) <= demand.mse_bound
        assert made.mse == pytest.approx(mse(pixels, picture), rel=0.01)
        assert np.array_equal(made.reconstruction, picture)
        rival = encode_classical(pixels, demand.mse_bound)
        assert len(made.stream) <= len(rival.payload) + FRAMING[profile]


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("max_bytes", [20, 45, 200, 2**64 - 1])
def test_bytes_are_kept_by_the_best_that_fits(codec, images, max_bytes, profile):
    demand = Demand(max_bytes=max_bytes)
    for pixels, made in zip(
        images, compress_with(codec, images, demand, profile=profile), strict=True
    ):
        levels = every_level(codec, pixels, profile)
        fitting = [error for size, error in levels if size <= max_bytes]
        if isinstance(made, QualityUnreachableError):
            assert not fitting
            assert max_bytes < made.size_bytes <= min(size for size, _ in levels)
            continue
        assert len(made.stream) <= max_bytes
        error = mse(pixels, decoded(codec, made.stream, profile))
        assert made.mse == pytest.approx(error, rel=0.01)
        assert error <= min(fitting, default=1.0) * 1.1
        lossless = len(encode_classical_lossless(pixels).payload) + FRAMING[profile]
        assert error == 0 or lossless > max_bytes


def test_no_demand_gives_the_default_level_unless_a_classic_is_smaller(codec, images):
    profile = Profile.EMBEDDED
    made = compress_with(codec, images, Demand(), profile=profile)
    own = [every_level(codec, pixels, profile)[2] for pixels in images]
    for pixels, one, (size, error) in zip(images, made, own, strict=True):
        rival = encode_classical(pixels, error)
        if len(rival.payload) + 2 < size:
            assert (one.codec, one.level, one.symbols) == (rival.codec, None, None)
            assert len(one.stream) == len(rival.payload) + 2
            assert one.mse <= error
        else:
            assert (one.codec, one.level, len(one.stream)) == ("tiny-levels", 2, size)
    assert {one.codec for one in made} > {"tiny-levels"}


def test_a_level_is_taken_as_it_is_asked_for(codec, digits):
    for level, (size, _) in enumerate(every_level(codec, digits[0], Profile.FILE)):
        [made] = compress_with(codec, [digits[0]], Demand(level=level, fallback=Fallback.NEVER))
        assert (made.level, len(made.stream)) == (level, size)
        assert made.mse is made.reconstruction is None


def test_without_fallback_only_the_models_levels_count(codec, images):
    for demand in (
        Demand(min_psnr_db=23, fallback=Fallback.NEVER),
        Demand(lossless=True, fallback=Fallback.NEVER),
    ):
        for pixels, made in zip(images, compress_with(codec, images, demand), strict=True):
            levels = every_level(codec, pixels, Profile.FILE)
            best = min(error for _, error in levels)
            if isinstance(made, Made):
                assert made.codec == "tiny-levels"
                assert made.mse <= demand.mse_bound
            else:
                assert best >= 0.99 * demand.mse_bound
                assert made.mse == best * (1 + 2**-9)  # so that it can be demanded
                assert (made.size_bytes, best) in levels


def test_a_refusal_says_what_is_nearest(codec, images):
    [small] = compress_with(codec, [images[0]], Demand(max_bytes=9))
    [bad] = compress_with(codec, [images[0]], Demand(min_psnr_db=60, fallback=Fallback.NEVER))
    [lossy] = compress_with(codec, [images[0]], Demand(lossless=True, fallback=Fallback.NEVER))

    assert str(small).startswith(
        f"no stream of this image fits into 9 bytes: the smallest has {small.size_bytes}, with an "
        f"MSE of {small.mse:.6f} ({psnr_db(small.mse):.2f} dB)"
    )
    assert "no level of the model reaches 60 dB on this image" in str(bad)
    assert "no level of a model is lossless for sure on every device" in str(lossy)


def test_what_a_refusal_proposes_is_met(codec, images):
    impossible = Demand(min_psnr_db=60, fallback=Fallback.NEVER)
    outcomes = zip(images, compress_with(codec, images, impossible), strict=True)
    refusals = [pair for pair in outcomes if isinstance(pair[1], QualityUnreachableError)]
    assert len(refusals) > 3
    for pixels, refused in refusals:
        (proposed,) = re.findall(r"ask for at most ([-.0-9]+) dB$", str(refused))
        for bound in (
            {"min_psnr_db": float(proposed)},
            {"max_mse": refused.mse},
            {"min_psnr_db": psnr_db(refused.mse)},
        ):
            demand = Demand(**bound, fallback=Fallback.NEVER)
            [made] = compress_with(codec, [pixels], demand)
            assert isinstance(made, Made)
            assert len(made.stream) <= refused.size_bytes
            assert made.mse == pytest.approx(refused.mse, rel=0.002)


def test_no_search_is_left_out_that_is_of_use(images):
    for pixels in images:
        lossless = len(encode_classical_lossless(pixels).payload)
        assert lossless_may_win(pixels, lossless + 1)
        for bound in (0, 0.0005, 0.005, 0.05):
            best = encode_classical(pixels, bound) if bound else encode_classical_lossless(pixels)
            made = challenger(pixels, len(best.payload) + 1, bound, max_payload=None)
            assert made is not None
            assert len(made.payload) == len(best.payload)
            assert made.mse <= bound
    assert challenger(images[0], 30, 0.005, max_payload=None) is None


def test_a_codec_that_was_warmed_up_gives_what_it_gave_before(digits, codec):
    before = compress_with(codec, list(digits[:3]), Demand())
    warm_up(codec)
    after = compress_with(codec, list(digits[:3]), Demand())
    assert [one.stream for one in after] == [one.stream for one in before]


def test_a_huge_image_is_contested_only_where_the_model_will_not_do(monkeypatch, codec, digits):
    monkeypatch.setattr("kompakt_codec.quality._compress.HUGE", 28 * 28)
    flat = np.full_like(digits[0], 90)
    assert [made.codec for made in compress_with(codec, [flat], Demand())] == ["tiny-levels"]
    [lossless] = compress_with(codec, [flat], Demand(lossless=True))
    assert lossless.codec in ("deflate", "webp-lossless")
    any_size = Codec(make_any_size_checkpoint(spec=ImageSpec(height=16, width=24, channels=3)))
    wide = np.full((64, 640, 3), 90, np.uint8)
    [by_model] = compress_with(any_size, [wide], Demand())
    most = len(by_model.stream) // 2
    [fitting] = compress_with(any_size, [wide], Demand(max_bytes=most))
    assert by_model.codec == "tiny-any"
    assert fitting.codec != "tiny-any"
    assert len(fitting.stream) <= most


@pytest.mark.parametrize("demand", [Demand(), Demand(max_bytes=9), Demand(min_psnr_db=30)])
def test_a_demand_has_words(demand):
    assert str(demand)
