"""Who does the work of a search."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from kompakt_codec.codec import Codec, Levels
from kompakt_codec.entropy import Symbols
from kompakt_codec.frame import Profile
from kompakt_codec.images import Pixels

_BATCH = 256

_Array = npt.NDArray[Any]
_Item = TypeVar("_Item")
_Value = TypeVar("_Value")


class Engine:
    """A codec and a profile at work: here in this thread, in a service through its queue."""

    def __init__(self, codec: Codec, profile: Profile) -> None:
        self.codec = codec
        self.profile = profile

    def analyse(self, images: Sequence[Pixels], levels: Levels) -> Sequence[Symbols]:
        """Images (height, width, channels) to symbols (C, h, w), each at its level."""
        return _in_batches(self.codec.analyse, images, levels)

    def synthesise(self, symbols: Sequence[Symbols], levels: Levels) -> Sequence[Pixels]:
        """The pixels that a decoder makes of symbols."""
        return _in_batches(self.codec.synthesise, symbols, levels)

    def encode(self, symbols: Sequence[Symbols], levels: Levels) -> list[bytes]:
        """Symbols to frames."""
        if not symbols:
            return []
        return self.codec.encode(np.stack(symbols), levels, profile=self.profile)

    def each(self, function: Callable[[_Item], _Value], items: Iterable[_Item]) -> list[_Value]:
        """Apply a function that may take long to each item."""
        return [function(item) for item in items]


def _in_batches(
    transform: Callable[[_Array, Levels], _Array], arrays: Sequence[_Array], levels: Levels
) -> list[_Array]:
    made: list[_Array] = []
    for start in range(0, len(arrays), _BATCH):
        part = slice(start, start + _BATCH)
        made.extend(transform(np.stack(arrays[part]), levels[part]))
    return made
