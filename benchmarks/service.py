"""Our server as the benchmarks start it, and bursts of load on it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.launcher import EMPTY_SERVICE
from benchmarks.load import Unary
from benchmarks.plan import METHODS, Plan
from benchmarks.processes import (
    ONE_THREAD,
    Background,
    BenchmarkError,
    free_port,
    module,
    run_for_json,
)
from benchmarks.requestfile import read_requests
from benchmarks.workload import SERVICE, check_answers
from kompakt_codec.codec import Codec


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One kind of load on the service."""

    in_flight: int
    images: int = 1
    empty: bool = False
    """On the empty method instead of the service's."""
    stream: bool = False
    connections: int = 1


class Service:
    """A server process, from a start to the end of the block."""

    def __init__(
        self,
        plan: Plan,
        *flags: str,
        cores: Iterable[int] | None = None,
        unobserved: bool = False,
    ) -> None:
        self._plan = plan
        self._port = free_port()
        chosen = ["--unobserved"] if unobserved else []
        where = ["--host", "127.0.0.1", "--port", str(self._port), "--metrics-port", "0"]
        self._process = Background(
            module("launcher", *chosen, *where, "--models", plan.models(), *flags),
            cores or {plan.cores.server},
            plan.directory / f"service-{self._port}.log",
            ONE_THREAD,
        )

    def __enter__(self) -> Self:
        try:
            self._process.wait_until(self.is_healthy)
            self._ask(images=1)  # what is loaded or compiled at the first call
        except BaseException:  # an interrupt too
            self._process.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._port}"

    def is_healthy(self, timeout: float = 1.0) -> bool:
        """Whether it answers that it serves."""
        with grpc.insecure_channel(self.target) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            try:
                response = check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=timeout)
            except grpc.RpcError:
                return False
            return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    def resident_mib(self) -> float:
        """Its resident memory."""
        return self._process.resident_mib()

    def check(self, codec: Codec, images: int = 64) -> None:
        """Raise BenchmarkError unless it answers what the codec does."""
        try:
            check_answers(self._plan.work, codec, self._ask(images), images)
        except ValueError as exc:
            raise BenchmarkError(str(exc)) from exc

    def _ask(self, images: int) -> dict[str, bytes]:
        """Answers to the first request of each direction."""
        answers = {}
        with grpc.insecure_channel(self.target) as channel:
            for direction, method in METHODS.items():
                call: Unary = channel.unary_unary(f"/{SERVICE}/{method}")
                request = read_requests(self._plan.requests(direction, images))[0]
                try:
                    answers[direction] = call(request, timeout=60)
                except grpc.RpcError as exc:
                    raise BenchmarkError(f"{method} failed: {exc}") from exc
        return answers

    def measure(
        self, direction: str, load: Load, *, cores: Iterable[int] | None = None
    ) -> dict[str, Any]:
        """One burst of load. Raises BenchmarkError if a call failed."""
        service = EMPTY_SERVICE if load.empty else SERVICE
        method = f"/{service}/{'Stream' * load.stream}{METHODS[direction]}"
        requests = self._plan.requests(direction, load.images, stream=load.stream)
        command = module(
            "load",
            *("--target", self.target, "--method", method, "--requests", requests),
            *("--in-flight", load.in_flight, "--connections", load.connections),
            *self._plan.burst(),
            *(["--stream"] if load.stream else []),
        )
        sample = run_for_json(
            command, cores or {self._plan.cores.generator}, timeout=self._plan.patience
        )
        return checked(sample, load.images)


def checked(sample: dict[str, Any], images: int = 1) -> dict[str, Any]:
    """A generator's sample with images a second. Raises BenchmarkError if a call failed."""
    if failures := sample.pop("failures"):
        raise BenchmarkError(f"calls failed: {failures}")
    if not sample["calls_per_second"]:
        raise BenchmarkError("no call ended in time")
    return {"images_per_second": sample["calls_per_second"] * images, **sample}
