import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from kompakt_training.bd_rate import NoOverlapError, Pchip, RatePoint, bd_rate

RATES = (0.15, 1.5)
ANCHOR = [RatePoint(0.1 * 1.5**i, 24 + 1.7 * i - 0.03 * i**2) for i in range(9)]

few = settings(max_examples=50, deadline=None)
steps = st.lists(st.floats(0.1, 1), min_size=2, max_size=9)


@st.composite
def curves(draw):
    """Rising curves that cover what the anchor has between the two rates."""
    rises, gains = draw(steps), draw(steps)
    count = min(len(rises), len(gains))
    psnrs = 22 + 18 * ascending(gains[:count]) / sum(gains[:count])
    rates = 0.1 * np.exp(ascending(rises[:count]))
    return [RatePoint(*point) for point in zip(rates, psnrs, strict=True)]


def ascending(differences):
    return np.concatenate([[0.0], np.cumsum(differences)])


def scaled(curve, factor):
    return [RatePoint(factor * point.bits_per_pixel, point.psnr_db) for point in curve]


@few
@given(curve=curves(), factor=st.floats(0.01, 100))
def test_a_constant_factor_in_rate_is_that_many_per_cent(curve, factor):
    assume(curve[-1].bits_per_pixel > 1.01 * RATES[0])

    assert bd_rate(curve, curve, bits_per_pixel=RATES).percent == pytest.approx(0, abs=1e-9)
    half = bd_rate(curve, scaled(curve, 0.5), bits_per_pixel=RATES)
    assert half.percent == pytest.approx(-50)
    found = bd_rate(curve, scaled(curve, factor), bits_per_pixel=RATES).percent
    assert found == pytest.approx(100 * (factor - 1), abs=1e-6)


@few
@given(curve=curves(), factor=st.floats(0.01, 100))
def test_a_codec_scales_against_another_as_its_bytes_do(curve, factor):
    once = bd_rate(ANCHOR, curve, bits_per_pixel=RATES)
    scaled_one = bd_rate(ANCHOR, scaled(curve, factor), bits_per_pixel=RATES)

    assert 1 + scaled_one.percent / 100 == pytest.approx(factor * (1 + once.percent / 100))
    assert (scaled_one.low_db, scaled_one.high_db) == (once.low_db, once.high_db)


@few
@given(curve=curves())
def test_exchanging_two_codecs_over_one_range_inverts_the_ratio(curve):
    wide = (1e-9, 1e9)
    there = bd_rate(ANCHOR, curve, bits_per_pixel=wide).percent
    back = bd_rate(curve, ANCHOR, bits_per_pixel=wide).percent

    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1)


@few
@given(rises=steps, gains=steps, part=st.floats(0, 1))
def test_the_interpolation_is_scipys(rises, gains, part):
    count = min(len(rises), len(gains))
    x, y = ascending(rises[:count]), ascending(gains[:count])
    at = np.array([x[-1] * part])

    np.testing.assert_allclose(Pchip.through(x, y)(at), PchipInterpolator(x, y)(at), atol=1e-9)


def test_a_mean_over_the_psnr_by_hand():
    anchor = [RatePoint(1, 30), RatePoint(4, 40)]
    curve = [RatePoint(1, 30), RatePoint(16, 40)]

    found = bd_rate(anchor, curve, bits_per_pixel=(0.5, 2))

    assert (found.low_db, found.high_db) == pytest.approx((30, 35))
    assert found.percent == pytest.approx(100 * (2**0.5 - 1))  # a ratio of 1 to 2, in the mean


def test_what_another_setting_beats_does_not_count():
    worse = RatePoint(ANCHOR[4].bits_per_pixel * 1.01, ANCHOR[4].psnr_db - 1)

    found = bd_rate(ANCHOR, [worse, *ANCHOR], bits_per_pixel=RATES)

    assert found.percent == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("anchor", "curve", "words"),
    [
        (ANCHOR, [RatePoint(1, 50), RatePoint(2, 60)], "its 50.0 to 60.0 dB do not overlap the an"),
        (ANCHOR, ANCHOR[:1], "its settings make no curve: at least two are needed"),
        (ANCHOR[:1], ANCHOR, "the anchor's settings make no curve"),
        (scaled(ANCHOR, 50), ANCHOR, "the anchor takes 5.00 to 128.14 bits a pixel, not 0.15 to"),
    ],
)
def test_curves_that_do_not_overlap_say_so(anchor, curve, words):
    with pytest.raises(NoOverlapError) as caught:
        bd_rate(anchor, curve, bits_per_pixel=RATES)

    assert str(caught.value).startswith(words)
