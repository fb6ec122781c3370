"""The quantisers of vectors of latents."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kompakt_codec.trellis import STATES, Quantiser, next_state

MIXED = Quantiser((False, True))
latents = st.floats(-6, 6, width=32)


def quantised(y: list[float], level: int, most: int = 2) -> list[int]:
    row = np.array([y], np.float32)
    return MIXED.quantise(row, [level], np.array([most]))[0].tolist()


def paths(length: int, most: int) -> list[list[int]]:
    """All symbols that a trellis has for so many latents."""
    made = []
    for indices in product(range(-most, most + 1), repeat=length):
        state, symbols = 0, []
        for index in indices:
            symbols.append(2 * index + state % 2)
            state = next_state(state, index)
        made.append(symbols)
    return made


PATHS = {length: np.array(paths(length, 2)) for length in (1, 2, 3, 4)}


@settings(deadline=None)
@given(y=st.lists(latents, min_size=1, max_size=4))
def test_the_path_is_the_nearest_of_all(y):
    made = quantised(y, 1)
    errors = ((PATHS[len(y)] - np.array(y, np.float32)) ** 2).sum(1)
    assert made in PATHS[len(y)].tolist()
    assert ((np.array(made) - np.array(y, np.float32)) ** 2).sum() == pytest.approx(
        errors.min(), abs=1e-4
    )


@settings(deadline=None)
@given(y=st.lists(latents, min_size=1, max_size=40), level=st.integers(0, 1))
def test_quantised_latents_stay_as_they_are(y, level):
    made = quantised(y, level)
    assert quantised([float(n) for n in made], level) == made


def test_a_scalar_quantiser_beside_a_trellis_has_the_even_symbols():
    assert quantised([0.9, -1.1, 2.9, 3.1, 99.0, -99.0], 0) == [0, -2, 2, 4, 4, -4]
    alone = Quantiser((False, False))
    assert alone.step == 1
    assert alone.quantise(np.array([[0.4, -1.6]], np.float32), [1], np.array([2])).tolist() == [
        [0, -2]
    ]


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize(
    ("strange", "like"),
    [("nan", -6.0), ("inf", 6.0), ("-inf", -6.0), ("3e38", 6.0), ("-3e38", -6.0), ("7.5", 6.0)],
)
def test_what_lies_outside_is_as_the_nearest_and_spoils_no_other(strange, like, level):
    rest = [1.1, -2.2, 0.4, 3.3]
    row, usual = [float(strange), *rest], [like, *rest]
    assert quantised(row, level) == quantised(usual, level)
    both = np.array([usual, row, [*rest, 0.0]], np.float32)
    made = MIXED.quantise(both, [level] * 3, np.full(3, 2))
    assert made[1].tolist() == made[0].tolist()


def test_every_state_is_entered_twice():
    entered = [next_state(state, parity) for state in range(STATES) for parity in (0, 1)]
    assert sorted(entered) == sorted(2 * list(range(STATES)))


def test_the_error_is_a_fifth_less_than_that_of_rounding():
    y = np.random.default_rng(0).normal(0, 20, (500, 48)).astype(np.float32)
    most = np.full(len(y), 100)
    errors = [
        float(((MIXED.quantise(y, [level] * len(y), most) - y) ** 2).mean()) for level in (0, 1)
    ]
    assert errors[1] < 0.82 * errors[0]
