"""What may go in one batch."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeVar

import numpy.typing as npt

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
