"""The smallest file within a bound on its distortion."""

import bisect
import functools
from collections.abc import Callable
from dataclasses import dataclass

_PATIENCE = 3
"""How many qualities in a row may bring nothing before the search stops in their direction."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A file, how long its encoder took, and the MSE of what its decoder returns."""

    data: bytes
    seconds: float
    mse: float
    setting: str


def smallest_file(
    trial_at: Callable[[int], Trial], qualities: range, max_mse: float
) -> Trial | None:
    """The smallest file found whose MSE is at most max_mse; None if the last quality's is above it.

    MSE mostly falls and size mostly grows with quality: bisection finds where the bound is met.
    Neither is strictly so: neighbours on both sides are tried until none of them brings a smaller
    file, and the last quality too, which a lossless mode can make small.
    """
    trial = functools.cache(trial_at)

    def is_within(quality: int) -> bool:
        return trial(quality).mse <= max_mse

    def size_within(quality: int) -> float:
        return len(trial(quality).data) if is_within(quality) else float("inf")

    last = qualities[-1]
    if not is_within(last):
        return None
    middle = qualities[bisect.bisect_left(qualities, True, key=is_within)]
    best = min(middle, last, key=size_within)
    for step in (-1, 1):
        quality, idle = middle + step, 0
        while idle < _PATIENCE and quality in qualities:
            idle += 1
            if size_within(quality) < size_within(best):
                best, idle = quality, 0
            quality += step
    return trial(best)
