"""What may go in one batch."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_MOST_ITEMS = 256
_MOST_PIXELS = 1 << 20

_Key = TypeVar("_Key", bound=Hashable)


def positions_by(keys: Iterable[_Key]) -> dict[_Key, list[int]]:
    """Each key that occurs, with the positions where it does, in order."""
    groups: dict[_Key, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    return groups


def by_shape(arrays: Sequence[npt.NDArray[Any]]) -> list[list[int]]:
    """The positions of arrays, those of one shape together."""
    return list(positions_by(array.shape for array in arrays).values())


def stacked(arrays: Sequence[npt.NDArray[Any]], members: Sequence[int]) -> npt.NDArray[Any]:
    """Some arrays as a batch; of one alone, which may be large, a view."""
    if len(members) == 1:
        return arrays[members[0]][None]
    return np.stack([arrays[i] for i in members])


def in_parts(positions: Sequence[int], pixels: int) -> Iterator[list[int]]:
    """Positions of images of so many pixels each, in parts whose memory is bounded."""
    count = max(1, min(_MOST_ITEMS, _MOST_PIXELS // pixels))
    for start in range(0, len(positions), count):
        yield list(positions[start : start + count])


def batches(
    arrays: Sequence[npt.NDArray[Any]], pixels_of: Callable[[npt.NDArray[Any]], int]
) -> Iterator[list[int]]:
    """The positions of arrays of one shape, in parts whose memory is bounded.

    ``pixels_of`` tells how many pixels an array stands for.
    """
    for group in by_shape(arrays):
        yield from in_parts(group, pixels_of(arrays[group[0]]))


def num_pixels(image: npt.NDArray[Any]) -> int:
    """How many an image (height, width, channels) has."""
    return int(image.shape[0] * image.shape[1])
