"""The search for the level that meets a demand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kompakt_codec.quality._search import LevelSearch

CASES = st.integers(1, 13).flatmap(
    lambda levels: st.tuples(
        st.just(levels), st.lists(st.integers(0, levels), min_size=1, max_size=9)
    )
)
"""How many levels there are, and of each image how many of them pass."""


def search_with(
    passes: list[list[bool]],
    *,
    finest: bool,
    thorough: bool | list[bool] = True,
    guide: np.ndarray | None = None,
    misses: np.ndarray | None = None,
) -> tuple[list[int], int]:
    """The levels chosen when images pass at these levels, and the number of rounds."""
    table = np.array(passes)
    search = LevelSearch(*table.shape, finest=finest, thorough=thorough, guide=guide)
    rounds = 0
    while len((trials := search.next())[0]):
        search.tell(*trials, table[trials], None if misses is None else misses[trials])
        rounds += 1
    return search.chosen.tolist(), rounds


def runs(levels: int, lengths: list[int], *, finest: bool) -> list[list[bool]]:
    """Which levels pass, from one end on."""
    return [[(q < n) if finest else (q >= levels - n) for q in range(levels)] for n in lengths]


def ends(levels: int, lengths: list[int], *, finest: bool) -> list[int]:
    return [-1 if n == 0 else (n - 1 if finest else levels - n) for n in lengths]


@given(CASES, st.booleans())
def test_a_search_finds_the_end_of_a_run(case, finest):
    levels, lengths = case
    chosen, rounds = search_with(runs(levels, lengths, finest=finest), finest=finest)

    assert chosen == ends(levels, lengths, finest=finest)
    # Where no level passes, each has to be tried.
    rest = levels if 0 in lengths else 0
    assert rounds <= math.ceil(math.log2(levels + 1)) + rest


@given(CASES, st.booleans(), st.integers(0, 2**32 - 1))
def test_a_guide_may_be_wrong(case, finest, seed):
    levels, lengths = case
    rng = np.random.default_rng(seed)
    guide, misses = rng.normal(size=(2, len(lengths), levels))
    passes = runs(levels, lengths, finest=finest)

    chosen, rounds = search_with(passes, finest=finest, thorough=False, guide=guide, misses=misses)

    assert chosen == ends(levels, lengths, finest=finest)
    assert rounds <= 4 + math.ceil(math.log2(levels + 1))


@given(CASES, st.booleans(), st.floats(-9, 9))
def test_a_guide_of_the_right_shape_is_followed(case, finest, offset):
    levels, lengths = case
    passes = np.array(runs(levels, lengths, finest=finest))
    steps = np.arange(levels) + 0.5
    misses = np.array([steps - n if finest else levels - n - steps for n in lengths])
    assert ((misses <= 0) == passes).all()

    chosen, rounds = search_with(
        passes, finest=finest, thorough=False, guide=misses + offset, misses=misses
    )

    assert chosen == ends(levels, lengths, finest=finest)
    assert rounds <= (2 if abs(offset) < 0.5 else 3)


@pytest.mark.parametrize("finest", [False, True])
def test_a_search_that_is_not_thorough_gives_up_after_its_bisection(finest):
    passes = [[False] * 7, [finest] + [False] * 5 + [not finest]]

    chosen, rounds = search_with(passes, finest=finest, thorough=False)

    assert chosen == [-1, 0 if finest else 6]
    assert rounds == 3
    chosen, rounds = search_with(passes, finest=finest, thorough=[True, False])
    assert chosen == [-1, 0 if finest else 6]
    assert rounds == 7


@given(
    st.integers(1, 13).flatmap(
        lambda levels: st.lists(
            st.lists(st.booleans(), min_size=levels, max_size=levels), min_size=1, max_size=9
        )
    ),
    st.booleans(),
)
def test_a_search_fails_only_where_no_level_passes(passes, finest):
    chosen, _ = search_with(passes, finest=finest)

    for level, row in zip(chosen, passes, strict=True):
        assert row[level] if level >= 0 else not any(row)
