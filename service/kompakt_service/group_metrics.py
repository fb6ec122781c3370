"""One page of metrics for several processes, on prometheus_client's multiprocess mode.

Every worker writes its values to files in one directory, under its number; the supervisor reads
them all. A worker that takes a dead one's place has its number, and so goes on counting where
that one stopped.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where a worker's environment names the directory; prometheus_client reads it."""


class GroupMetrics:
    """The metrics of all workers, and the supervisor's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.registry = registry = CollectorRegistry()
        MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
        PlatformCollector(registry=registry)
        self._processes = _ProcessesCollector()
        registry.register(self._processes)
        self.serving = Gauge("kompakt_workers", "Workers that take calls.", registry=registry)
        self.deaths = Counter(
            "kompakt_worker_deaths", "Workers that ended unasked.", registry=registry
        )

    def add(self, number: int, pid: int) -> None:
        """Show a worker's process."""
        self._processes.pids[str(number)] = pid

    def remove(self, number: int) -> None:
        """Drop the process and the gauges of a worker that has ended; what it counted stays."""
        self._processes.pids.pop(str(number))
        mark_process_dead(number, str(self.directory))  # type: ignore[no-untyped-call]


def write_as_worker(number: int) -> None:
    """Make this process write its metrics as worker ``number``; before any metric is made."""
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]


class _ProcessesCollector(Collector):
    """CPU time, memory and open files of each process, labelled with its worker's number."""

    def __init__(self) -> None:
        self.pids = {"supervisor": os.getpid()}

    def collect(self) -> Iterable[Metric]:
        merged: dict[str, Metric] = {}
        for worker, pid in self.pids.copy().items():
            for family in _process_metrics(pid):
                metric = merged.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    metric.add_sample(sample.name, {"worker": worker}, sample.value)
        return merged.values()


def _process_metrics(pid: int) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()
