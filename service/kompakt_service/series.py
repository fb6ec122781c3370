"""Metrics that cost a call next to nothing: what happens is noted at once and counted later."""

import threading
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

_OFTEN = 256
"""After so many calls or messages their notes are counted even if there is no rest."""
_PAUSE_SECONDS = 1.0
"""What others read, such as the page of several workers, is no older."""

Note = Callable[[float], None]


class Sums(Counter):
    """A counter that takes many amounts at once."""

    def add_all(self, amounts: list[float]) -> None:
        """Count amounts."""
        self.inc(sum(amounts))


class Spread(Histogram):
    """A histogram that takes many amounts at once."""

    def add_all(self, amounts: list[float]) -> None:
        """Observe amounts."""
        self._sum.inc(float(sum(amounts)))
        # Faster than NumPy's calls as long as there are hundreds: a lone caller's are a few.
        places = Counts(bisect_left(self._upper_bounds, amount) for amount in amounts)
        for place, count in places.items():
            self._buckets[place].inc(count)


class Notebook(Collector):
    """Amounts noted for the series of metrics, counted when there is time and before they are read.

    Noting is the append of a list; counting goes through locks, and in a group of workers through
    files.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._notes: dict[tuple[Any, tuple[str, ...]], list[float]] = {}
        self._watched: list[tuple[Gauge, Callable[[], float]]] = []
        self._asked = 0
        self._lock = threading.Lock()
        registry.register(self)  # the first, so that the others are read after ``collect``

    def series(self, metric: Sums | Spread, *labels: str) -> Note:
        """What notes an amount for one series. Keep it: looking it up costs more than noting."""
        return self._notes.setdefault((metric, labels), []).append

    def watch(self, gauge: Gauge, value: Callable[[], float]) -> None:
        """Set a gauge to a value whenever there is counting."""
        self._watched.append((gauge, value))

    def count_at_times(self) -> None:
        """Count if this has been called often since."""
        self._asked += 1
        if self._asked >= _OFTEN:
            self.count()

    def keep_counting(self, ended: threading.Event) -> None:
        """Count again and again until an event, for a thread of its own.

        Of several workers another process reads the metrics, which asks for no count.
        """
        while not ended.wait(_PAUSE_SECONDS):
            self.count()

    def count(self) -> None:
        """Count everything noted so far."""
        with self._lock:
            self._asked = 0
            # A list of the items could be interrupted by threads that add some.
            for (metric, labels), notes in self._notes.copy().items():
                if amounts := notes[:]:
                    del notes[: len(amounts)]
                    metric.labels(*labels).add_all(amounts)
            for gauge, value in self._watched:
                gauge.set(value())

    def collect(self) -> Iterable[Metric]:
        """Count; the metrics are read from themselves."""
        self.count()
        return ()
