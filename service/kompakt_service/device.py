"""The device as one batch sees it: transforms one batch at a time, all timed."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kompakt_codec.codec import Codec
from kompakt_codec.entropy import Levels, Symbols
from kompakt_codec.frame import Profile
from kompakt_codec.images import Pixels
from kompakt_codec.quality import Engine
from kompakt_service.lanes import Batch

_Value = TypeVar("_Value")


class BatchEngine(Engine):
    """Does the work of one batch, and takes its times.

    Its transforms hold the device's lock; its entropy coding runs beside the next batch's.
    """

    def __init__(
        self, codec: Codec, profile: Profile, device: threading.Lock, batch: Batch
    ) -> None:
        super().__init__(codec, profile)
        self._device = device
        self._batch = batch

    def analyse(self, images: Sequence[Pixels], levels: Levels) -> Sequence[Symbols]:
        """Images to symbols, on the device."""
        return self.on_device(super().analyse, images, levels)

    def synthesise(self, symbols: Sequence[Symbols], levels: Levels) -> Sequence[Pixels]:
        """Symbols to pixels, on the device."""
        return self.on_device(super().synthesise, symbols, levels)

    def on_device(self, function: Callable[..., _Value], *arguments: Any) -> _Value:
        """Call a function while no other has the device. Raises CallError if nobody waits."""
        self._batch.check()
        timings = self._batch.timings
        asked = time.monotonic()
        with self._device:
            began = time.monotonic()
            made = function(*arguments)
        timings.queue += began - asked
        timings.transform += time.monotonic() - began
        return made
