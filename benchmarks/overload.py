"""Four times what the server can do, for a minute: what it still does, and how it says no."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks.plan import DIRECTIONS, METHODS, Plan
from benchmarks.processes import module, run_for_json
from benchmarks.sample import percentile_ms
from benchmarks.service import Load, Service
from benchmarks.workload import SERVICE

TIMES_CAPACITY = 4
_PROBE_SECONDS = 0.1
_IN_FLIGHT = 8


@dataclass(slots=True)
class Watch:
    """Health probes and resident memory of a service, ten times a second."""

    service: Service
    latencies: list[float] = field(default_factory=list)
    unanswered: int = 0
    memory_mib: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Probe until ``stop``."""
        while not self._stop.wait(_PROBE_SECONDS):
            started = time.perf_counter()
            if self.service.is_healthy():
                self.latencies.append(time.perf_counter() - started)
            else:
                self.unanswered += 1
            self.memory_mib.append(self.service.resident_mib())

    def stop(self) -> None:
        """End the probing."""
        self._stop.set()

    def summary(self) -> dict[str, Any]:
        """What was seen."""
        tenth = self.memory_mib[len(self.memory_mib) // 10 :]
        return {
            "health_answered": len(self.latencies),
            "health_unanswered": self.unanswered,
            "health_p99_ms": percentile_ms(self.latencies, 99),
            "memory_mib_start": self.memory_mib[0],
            "memory_mib_after_a_tenth": tenth[0],
            "memory_mib_end": self.memory_mib[-1],
            "memory_mib_most": max(self.memory_mib),
        }


def measure_overload(plan: Plan) -> dict[str, Any]:
    """Goodput over peak and all the rest, for each direction."""
    results = {}
    for direction in DIRECTIONS:
        with Service(plan) as service:
            peak = service.measure(
                direction, Load(in_flight=_IN_FLIGHT, images=plan.overload_images)
            )
            results[direction] = _flood(plan, service, direction, peak)
    return results


def _flood(plan: Plan, service: Service, direction: str, peak: dict[str, Any]) -> dict[str, Any]:
    capacity = peak["calls_per_second"]
    command = module(
        "open_load",
        *("--target", service.target, "--method", f"/{SERVICE}/{METHODS[direction]}"),
        *("--requests", plan.requests(direction, plan.overload_images)),
        *("--rate", TIMES_CAPACITY * capacity, "--seconds", plan.overload_seconds),
    )
    watch = Watch(service)
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        outcome = run_for_json(command, {plan.cores.generator}, timeout=plan.overload_seconds + 120)
    finally:
        watch.stop()
        thread.join()
    return {
        "goodput": outcome["answered_per_second"] / capacity,
        "images_per_call": plan.overload_images,
        "times_capacity": outcome["sent_per_second"] / capacity,
        "peak": peak,
        **outcome,
        **watch.summary(),
    }
