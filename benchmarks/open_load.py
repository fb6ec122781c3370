"""An open-loop load generator for gRPC: calls at a fixed rate, whatever becomes of them."""

import argparse
import functools
import itertools
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import grpc

from benchmarks.load import CHANNEL_OPTIONS, Unary
from benchmarks.requestfile import read_requests
from benchmarks.sample import percentile_ms

_TICK_SECONDS = 0.001
_REFUSED = "RESOURCE_EXHAUSTED"


class Outcomes:
    """How calls ended, and when."""

    def __init__(self) -> None:
        self.latencies: dict[str, list[float]] = {}
        self.accepted_ends: list[float] = []
        self.pending = 0
        self._lock = threading.Lock()

    def sent(self) -> None:
        """Count a call that is under way."""
        with self._lock:
            self.pending += 1

    def ended(self, started: float, future: "grpc.Future[bytes]") -> None:
        """Record how a call ended."""
        now = time.perf_counter()
        error = future.exception()
        code = error.code().name if error else "OK"  # type: ignore[attr-defined]
        with self._lock:
            self.pending -= 1
            self.latencies.setdefault(code, []).append(now - started)
            if error is None:
                self.accepted_ends.append(now)


def send_at_rate(
    target: str, method: str, requests: Sequence[bytes], rate: float, seconds: float
) -> dict[str, object]:
    """Send calls at a rate (a second), then wait for those that were accepted."""
    outcomes = Outcomes()
    with grpc.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        grpc.channel_ready_future(channel).result(10)
        call: Unary = channel.unary_unary(method)
        numbered = itertools.cycle(requests)
        begin, cpu = time.perf_counter(), time.process_time()
        sent = 0
        while (now := time.perf_counter()) < begin + seconds:
            for _ in range(int((now - begin) * rate) - sent):
                sent += 1
                outcomes.sent()
                future = call.future(next(numbered))
                future.add_done_callback(functools.partial(outcomes.ended, time.perf_counter()))
            time.sleep(_TICK_SECONDS)
        end, cpu = time.perf_counter(), time.process_time() - cpu
        _wait_for(outcomes)
    accepted = outcomes.latencies.get("OK", [])
    refused = outcomes.latencies.get(_REFUSED, [])
    return {
        "sent_per_second": sent / (end - begin),
        "answered_per_second": sum(t < end for t in outcomes.accepted_ends) / (end - begin),
        "accepted_p50_ms": percentile_ms(accepted, 50),
        "accepted_p99_ms": percentile_ms(accepted, 99),
        "refused_p50_ms": percentile_ms(refused, 50),
        "refused_p99_ms": percentile_ms(refused, 99),
        "outcomes": Counter({code: len(times) for code, times in outcomes.latencies.items()}),
        "unanswered": outcomes.pending,
        "generator_cpu": cpu / (end - begin),
    }


def _wait_for(outcomes: Outcomes, seconds: float = 30) -> None:
    end = time.perf_counter() + seconds
    while outcomes.pending and time.perf_counter() < end:
        time.sleep(0.05)


def main(argv: Sequence[str] | None = None) -> int:
    """Print what became of the calls."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.open_load", description=__doc__)
    parser.add_argument("--target", required=True, help="host:port")
    parser.add_argument("--method", required=True, help="/package.Service/Method")
    parser.add_argument("--requests", type=Path, required=True, help="file of requests")
    parser.add_argument("--rate", type=float, required=True, help="calls a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args(argv)
    requests = read_requests(arguments.requests)
    outcome = send_at_rate(
        arguments.target, arguments.method, requests, arguments.rate, arguments.seconds
    )
    print(json.dumps(outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main())
