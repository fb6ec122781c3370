"""The model's part: the level of each image that meets the demand, or comes nearest."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kompakt_codec.codec import crop_pixels
from kompakt_codec.entropy import Levels, Symbols
from kompakt_codec.frame import LEVEL_STEPS
from kompakt_codec.images import Pixels
from kompakt_codec.metrics import mse
from kompakt_codec.quality._demand import GUARD, Demand
from kompakt_codec.quality._engine import Engine, Size
from kompakt_codec.quality._search import Floats, Integers, LevelSearch

_PHOTO = 1 << 16
"""Pixels from which on bytes and MSE follow levels so well that a search is not thorough."""
_LEAST = 1e-12
"""Stands for nothing, which has no logarithm."""


@dataclass(slots=True, kw_only=True)
class Trial:
    """An image at a level, as far as it was coded and decoded. Filled in step by step."""

    level: float
    symbols: Symbols
    size: Size
    """Height and width of the image."""
    meets: bool = True
    miss: float = 0.0
    """Log of what is bounded over its bound."""
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
        self._misses: dict[tuple[int, float], float] = {}
        """Those of the trials of each image, by level."""

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
        count = codec.header.rate_levels
        guide = self._expected() if count == len(codec.levels) else None
        small = [math.prod(size) < _PHOTO for size in self._sizes]
        search = LevelSearch(len(small), count, finest=finest, thorough=small, guide=guide)
        self._run(search, np.arange(len(self._images)), lambda _, level: level)
        if codec.levels.has_between and count == len(codec.levels):
            self._search_between(finest)

    def _search_between(self, finest: bool) -> None:
        """Come nearer to the demand than by whole levels."""
        last = len(self._engine.codec.levels) - 1
        whole = list(self.best)
        # The level below those to try. The one above them failed, or is the best so far.
        below = [-1 if t is None else int(t.level) - (0 if finest else 1) for t in whole]
        images = np.array(
            [i for i, t in enumerate(whole) if t and t.meets and 0 <= below[i] < last], np.int64
        )
        # One of the ends may not have been tried: then the guide only says less.
        ends = [[self._misses.get((i, below[i] + end), 0.0) for end in (0, 1)] for i in images]
        parts = np.arange(1, LEVEL_STEPS) / LEVEL_STEPS
        first, last_miss = np.array(ends).reshape(-1, 2).T[:, :, None]
        guide = first + (last_miss - first) * parts
        search = LevelSearch(
            len(images), LEVEL_STEPS - 1, finest=finest, thorough=False, guide=guide
        )
        self._run(search, images, lambda i, step: below[i] + (step + 1) / LEVEL_STEPS)
        self._take_back(whole)

    def _take_back(self, whole: Sequence[Trial | None]) -> None:
        """Prefer whole levels where they are better: bytes and error do not strictly follow levels.

        With a bound on bytes that is less error, else fewer bytes.
        """
        pairs = [
            (i, trial, best)
            for i, (trial, best) in enumerate(zip(whole, self.best, strict=True))
            if trial and best and trial is not best
        ]
        both = [trial for _, *trials in pairs for trial in trials]
        if self._bound is None:
            self._measure([i for i, *_ in pairs for _ in range(2)], both)
            worse = [best.mse >= trial.mse for _, trial, best in pairs]
        else:
            self._encode(both)
            worse = [len(best.stream) >= len(trial.stream) for _, trial, best in pairs]
        for (i, trial, _), is_worse in zip(pairs, worse, strict=True):
            if is_worse:
                self.best[i] = trial

    def _expected(self) -> Floats | None:
        """By how much each image may miss the bound at each level, by the model's own curve."""
        codec = self._engine.codec
        curve = codec.header.curve
        if not curve:
            return None
        if self._bound is not None:
            misses = [_log_ratio(point.mse, self._bound) for point in curve]
            return np.tile(misses, (len(self._images), 1))
        rates = np.array([point.bits_per_pixel for point in curve])
        most = 8 * (self._demand.max_bytes or 0)
        return np.array(
            [[_log_ratio(rate * math.prod(size), most) for rate in rates] for size in self._sizes]
        )

    def _run(
        self, search: LevelSearch, images: Integers, level_of: Callable[[int, int], float]
    ) -> None:
        """Try what the search names: an index of ``images``, and a position for ``level_of``."""
        while True:
            chosen, positions = search.next()
            if not len(chosen):
                return
            members = images[chosen].tolist()
            levels = [level_of(i, p) for i, p in zip(members, positions.tolist(), strict=True)]
            trials = self._try(members, levels)
            passed = np.array([trial.meets for trial in trials])
            search.tell(chosen, positions, passed, np.array([trial.miss for trial in trials]))
            for i, trial in zip(members, trials, strict=True):
                self._misses[i, trial.level] = trial.miss
                if self._is_better(trial, self.best[i]):
                    self.best[i] = trial

    def _try(self, images: Sequence[int], levels: Levels) -> list[Trial]:
        """Trials in which what is bounded was measured."""
        symbols = self._engine.analyse([self._images[i] for i in images], levels)
        trials = [
            Trial(level=level, symbols=one, size=self._sizes[i])
            for i, level, one in zip(images, levels, symbols, strict=True)
        ]
        if self._bound is None:
            most = self._demand.max_bytes or 0
            self._encode(trials)
            for trial in trials:
                trial.meets = len(trial.stream) <= most
                trial.miss = _log_ratio(len(trial.stream), most)
            return trials
        # Strictly below, so that no model's stream ever counts as lossless.
        bound = self._bound * (1 - GUARD)
        self._measure(images, trials)
        for trial in trials:
            trial.meets = trial.mse < bound
            trial.miss = _log_ratio(trial.mse, bound)
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

    def _measure(self, images: Sequence[int], trials: Sequence[Trial]) -> None:
        levels = [trial.level for trial in trials]
        full = self._engine.synthesise([trial.symbols for trial in trials], levels)
        for i, trial, one in zip(images, trials, full, strict=True):
            pixels = crop_pixels(one, trial.size)
            trial.mse = mse(self._images[i], pixels)
            trial.decoded = pixels if self._keep_decoded else None


def _log_ratio(value: float, bound: float) -> float:
    return math.log(max(value, _LEAST) / max(bound, _LEAST))
