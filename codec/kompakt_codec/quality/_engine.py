"""Who does the work of a search."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy.typing as npt

from kompakt_codec.codec import Codec
from kompakt_codec.entropy import Levels, Symbols
from kompakt_codec.frame import Profile
from kompakt_codec.grouping import batches, num_pixels, positions_by, stacked
from kompakt_codec.images import Pixels

Size = tuple[int, int]
"""Height and width."""

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
        return _in_batches(self.codec.analyse, images, levels, num_pixels)

    def synthesise(self, symbols: Sequence[Symbols], levels: Levels) -> Sequence[Pixels]:
        """The pixels that a decoder makes of symbols."""
        return _in_batches(self.codec.synthesise, symbols, levels, self.codec.pixels_of)

    def encode(
        self, symbols: Sequence[Symbols], levels: Levels, sizes: Sequence[Size]
    ) -> list[bytes]:
        """Symbols of images (height, width) to frames."""
        frames = [b""] * len(symbols)
        for size, members in positions_by(sizes).items():
            batch = stacked(symbols, members)
            chosen = [levels[i] for i in members]
            made = self.codec.encode(batch, chosen, size, profile=self.profile)
            for i, frame in zip(members, made, strict=True):
                frames[i] = frame
        return frames


def _in_batches(
    transform: Callable[[_Array, Levels], _Array],
    arrays: Sequence[_Array],
    levels: Levels,
    pixels_of: Callable[[_Array], int],
) -> list[_Array]:
    made: dict[int, _Array] = {}
    for part in batches(arrays, pixels_of):
        batch = stacked(arrays, part)
        made.update(zip(part, transform(batch, [levels[i] for i in part]), strict=True))
    return [made[i] for i in range(len(arrays))]
