"""The search for the level that meets a demand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kompakt_codec.quality import LevelSearch


def search_with(
    passes: list[list[bool]], *, finest: bool, thorough: bool = True
) -> tuple[list[int], int]:
    """The levels chosen when images pass at these levels, and the number of rounds."""
    table = np.array(passes)
    search = LevelSearch(*table.shape, finest=finest, thorough=thorough)
    rounds = 0
    while len((trials := search.next())[0]):
        search.tell(*trials, table[trials])
        rounds += 1
    return search.chosen.tolist(), rounds


@given(
    st.integers(1, 13).flatmap(
        lambda levels: st.tuples(
            st.just(levels), st.lists(st.integers(0, levels), min_size=1, max_size=9)
        )
    ),
    st.booleans(),
)
def test_a_search_finds_the_end_of_a_run(case, finest):
    levels, lengths = case
    passes = [[(q < n) if finest else (q >= levels - n) for q in range(levels)] for n in lengths]

    chosen, rounds = search_with(passes, finest=finest)

    assert chosen == [-1 if n == 0 else (n - 1 if finest else levels - n) for n in lengths]
    # Where no level passes, each has to be tried.
    rest = levels if 0 in lengths else 0
    assert rounds <= math.ceil(math.log2(levels + 1)) + rest


@pytest.mark.parametrize("finest", [False, True])
def test_a_search_that_is_not_thorough_gives_up_after_its_bisection(finest):
    passes = [[False] * 7, [finest] + [False] * 5 + [not finest]]

    chosen, rounds = search_with(passes, finest=finest, thorough=False)

    assert chosen == [-1, 0 if finest else 6]
    assert rounds == 3


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
