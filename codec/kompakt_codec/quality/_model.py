"""The model's part: the level of each image that meets the demand, or comes nearest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kompakt_codec.codec import crop_pixels
from kompakt_codec.entropy import Symbols
from kompakt_codec.images import Pixels
from kompakt_codec.metrics import mse
from kompakt_codec.quality._demand import GUARD, Demand
from kompakt_codec.quality._engine import Engine, Size
from kompakt_codec.quality._search import Integers, LevelSearch


@dataclass(slots=True, kw_only=True)
class Trial:
    """An image at a level, as far as it was coded and decoded. Filled in step by step."""

    level: int
    symbols: Symbols
    size: Size
    """Height and width of the image."""
    meets: bool = True
    stream: bytes = b""
    mse: float = math.nan
    decoded: Pixels | None = None


class ModelTrials:
    """The best trial of each image; None where no level can be of use."""

    def __init__(
        self, engine: Engine, images: Sequence[Pixels], demand: Demand, *, keep_decoded: bool
    ) -> None:
        self._engine = engine
        self._images = images
        self._sizes = [(image.shape[0], image.shape[1]) for image in images]
        self._demand = demand
        self._bound = demand.mse_bound
        self._keep_decoded = keep_decoded
        self.best: list[Trial | None] = [None] * len(images)

    def find(self) -> None:
        """Find the best trials and make their streams."""
        if self._bound is None and self._demand.max_bytes is None:
            self._take_level()
        elif self._bound != 0 or not self._demand.falls_back:
            self._search()
        self._encode([trial for trial in self.best if trial and not trial.stream])

    def measure(self, wanted: npt.NDArray[np.bool_]) -> None:
        """Decode those of the images that are wanted (N,) and measure their distortion."""
        todo = {
            i: trial
            for i, trial in enumerate(self.best)
            if trial and wanted[i] and math.isnan(trial.mse)
        }
        if todo:
            self._measure(list(todo), list(todo.values()))

    def _take_level(self) -> None:
        level = self._demand.level
        level = self._engine.codec.header.default_level if level is None else level
        symbols = self._engine.analyse(self._images, [level] * len(self._images))
        self.best = [
            Trial(level=level, symbols=one, size=self._sizes[i]) for i, one in enumerate(symbols)
        ]

    def _search(self) -> None:
        finest = self._demand.max_bytes is not None
        codec = self._engine.codec
        count = 1 if codec.header.labels else codec.levels  # a label is for the caller to give
        search = LevelSearch(len(self._images), count, finest=finest)
        while True:
            images, levels = search.next()
            if not len(images):
                return
            trials = self._try(images, levels)
            search.tell(images, levels, np.array([trial.meets for trial in trials]))
            for i, trial in zip(images, trials, strict=True):
                if self._is_better(trial, self.best[i]):
                    self.best[i] = trial

    def _try(self, images: Integers, levels: Integers) -> list[Trial]:
        """Trials in which what is bounded was measured."""
        symbols = self._engine.analyse([self._images[i] for i in images], levels.tolist())
        trials = [
            Trial(level=level, symbols=one, size=self._sizes[i])
            for i, level, one in zip(images, levels.tolist(), symbols, strict=True)
        ]
        if self._bound is None:
            most = self._demand.max_bytes or 0
            self._encode(trials)
            for trial in trials:
                trial.meets = len(trial.stream) <= most
            return trials
        # Strictly below, so that no model's stream ever counts as lossless.
        bound = self._bound * (1 - GUARD)
        self._measure(images, trials)
        for trial in trials:
            trial.meets = trial.mse < bound
        return trials

    def _is_better(self, trial: Trial, other: Trial | None) -> bool:
        """Whether it meets the bound by the better level, or else comes nearer to it."""
        if other is None or trial.meets != other.meets:
            return other is None or trial.meets
        if trial.meets:
            return (trial.level > other.level) == (self._bound is None)
        if self._bound is None:
            return len(trial.stream) < len(other.stream)
        return trial.mse < other.mse

    def _encode(self, trials: Sequence[Trial]) -> None:
        levels = [trial.level for trial in trials]
        sizes = [trial.size for trial in trials]
        streams = self._engine.encode([trial.symbols for trial in trials], levels, sizes)
        for trial, stream in zip(trials, streams, strict=True):
            trial.stream = stream

    def _measure(self, images: Integers | Sequence[int], trials: Sequence[Trial]) -> None:
        levels = [trial.level for trial in trials]
        full = self._engine.synthesise([trial.symbols for trial in trials], levels)
        for i, trial, one in zip(images, trials, full, strict=True):
            pixels = crop_pixels(one, trial.size)
            trial.mse = mse(self._images[i], pixels)
            trial.decoded = pixels if self._keep_decoded else None
