"""What a load generator saw, and how it hands it on: one line of JSON."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np


@dataclass(slots=True)
class Recorder:
    """Latencies of the calls that end between the end of the warm-up and the end of the time."""

    warm_up_seconds: float
    seconds: float
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    _from: float = 0.0
    _until: float = 0.0
    _cpu: float = 0.0

    def start(self) -> None:
        """Start the clock."""
        self._from = time.perf_counter() + self.warm_up_seconds
        self._until = self._from + self.seconds

    def is_over(self, now: float) -> bool:
        """Whether the time is up."""
        return now >= self._until

    def succeeded(self, started: float, now: float) -> None:
        """Record a call."""
        if self._from <= now < self._until:
            if not self.latencies:
                self._cpu = time.process_time()
            self.latencies.append(now - started)

    def failed(self, reason: str) -> None:
        """Record why a call failed."""
        self.failures[reason] += 1

    def sample(self) -> "Sample":
        """What was seen. Call it as soon as the time is up."""
        seconds = time.perf_counter() - self._from if self.latencies else self.seconds
        return Sample(
            calls_per_second=len(self.latencies) / self.seconds,
            p50_ms=percentile_ms(self.latencies, 50),
            p99_ms=percentile_ms(self.latencies, 99),
            generator_cpu=(time.process_time() - self._cpu) / seconds,
            failures=dict(self.failures),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One burst of load."""

    calls_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    generator_cpu: float
    """Cores that the generator itself was busy with: near 1, it was the limit."""
    failures: dict[str, int]

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


def percentile_ms(seconds: Sequence[float], percent: float) -> float | None:
    """A percentile of times in seconds, in milliseconds; None if there are none."""
    return float(np.percentile(seconds, percent)) * 1000 if seconds else None
