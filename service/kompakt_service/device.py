"""The codec's stages as one call sees them: transforms through the batcher's queue, all timed."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from kompakt_codec.codec import Codec, Levels
from kompakt_codec.entropy import Symbols
from kompakt_codec.frame import Profile
from kompakt_codec.grouping import by_shape
from kompakt_codec.images import Pixels
from kompakt_codec.quality import Engine, Size
from kompakt_service.batcher import Array, Batcher, Operation, Output, pixels_of
from kompakt_service.call import Call

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")


class Device:
    """Runs transforms in batches; the times go to the call."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    def run(
        self, codec: Codec, operation: Operation, array: Array, levels: Levels, call: Call
    ) -> Output:
        """Run one batch (N, …), each item at its level."""
        call.check()
        output = self._batcher.submit(
            codec, operation, array, levels, deadline=call.deadline, is_wanted=call.is_wanted
        ).result()
        call.timings.queue += output.queue_seconds
        call.timings.transform += output.transform_seconds
        return output

    def transform(
        self,
        codec: Codec,
        operation: Operation,
        arrays: Sequence[Array],
        levels: Levels,
        call: Call,
    ) -> list[Array]:
        """Run arrays, each at its level; those of one shape go in batches."""
        made: dict[int, Array] = {}
        for group in by_shape(arrays):
            pixels = pixels_of(codec, operation, arrays[group[0]][None])
            for part in self.batches(pixels, len(group)):
                members = group[part]
                batch = np.stack([arrays[i] for i in members])
                chosen = [levels[i] for i in members]
                output = self.run(codec, operation, batch, chosen, call)
                made.update(zip(members, output.array, strict=True))
        return [made[i] for i in range(len(arrays))]

    def batches(self, pixels: int, count: int) -> list[slice]:
        """So many items of so many pixels in the parts that one batch should hold."""
        size = self._batcher.batch_size(pixels)
        return [slice(start, start + size) for start in range(0, count, size)]


class CallEngine(Engine):
    """The engine of one call's search for a quality."""

    def __init__(self, codec: Codec, profile: Profile, device: Device, call: Call) -> None:
        super().__init__(codec, profile)
        self._device = device
        self._call = call

    def analyse(self, images: Sequence[Pixels], levels: Levels) -> list[Symbols]:
        """Images to symbols, on the device."""
        return self._device.transform(self.codec, Operation.ANALYSE, images, levels, self._call)

    def synthesise(self, symbols: Sequence[Symbols], levels: Levels) -> list[Pixels]:
        """Symbols to pixels, on the device."""
        return self._device.transform(self.codec, Operation.SYNTHESISE, symbols, levels, self._call)

    def encode(
        self, symbols: Sequence[Symbols], levels: Levels, sizes: Sequence[Size]
    ) -> list[bytes]:
        """Symbols to frames, in this thread."""
        frames: list[bytes] = []
        pixels = max((height * width for height, width in sizes), default=1)
        for part in self._device.batches(pixels, len(symbols)):
            self._call.check()
            with self._call.timings.measure("entropy"):
                frames += super().encode(symbols[part], levels[part], sizes[part])
        return frames

    def each(self, function: Callable[[_Item], _Value], items: Iterable[_Item]) -> list[_Value]:
        """Apply a function to each item, in this thread."""
        made = []
        with self._call.timings.measure("entropy"):
            for item in items:
                self._call.check()
                made.append(function(item))
        return made
