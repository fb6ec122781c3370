"""A peer's server, from a start to the end of the block, and bursts of load on it."""

from pathlib import Path
from typing import Any, Self

from benchmarks.peers import ITEM_TYPES, TRANSFORMS
from benchmarks.peers.export import export_transforms
from benchmarks.peers.registry import Peer, prepare_environment
from benchmarks.plan import DIRECTIONS, Plan
from benchmarks.processes import (
    Background,
    BenchmarkError,
    accepts_connections,
    free_port,
    module,
    run_for_json,
)
from benchmarks.requestfile import write_requests
from benchmarks.service import checked
from benchmarks.workload import CHECKPOINT
from kompakt_codec.codec import Codec

_NUM_REQUESTS = 256
_START_SECONDS = 120
# ONNX Runtime would report to its maker meanwhile; ours does not either.
_ENVIRONMENT = {"PYTHONPATH": "", "OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}


class PeerService:
    """One peer that serves both bare transforms on the server's core."""

    def __init__(self, plan: Plan, peer: Peer, codec: Codec) -> None:
        self._plan = plan
        self._peer = peer
        self._port = free_port()
        self._last_failure = "it did not listen"
        python = prepare_environment(peer.name, peer.requirements)
        models = _exported(plan.directory)
        for direction, items in _items(plan, codec).items():
            write_requests(self._file(direction), peer.requests(direction, items))
        self._process = Background(
            module(
                f"peers.{peer.name}_server",
                *("--models", models, "--port", self._port),
                python=python,
            ),
            {plan.cores.server},
            plan.directory / f"{peer.name}.log",
            {**peer.environment, **_ENVIRONMENT},
        )

    def __enter__(self) -> Self:
        try:
            self._process.wait_until(lambda: accepts_connections(self._port), _START_SECONDS)
            self._process.wait_until(self._answers, _START_SECONDS)
        except BaseException as exc:  # an interrupt too
            self._process.stop()
            if isinstance(exc, BenchmarkError):
                raise BenchmarkError(f"{exc}; {self._last_failure}") from exc
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    def measure(self, direction: str, in_flight: int) -> dict[str, Any]:
        """One burst of load. Raises BenchmarkError if a call failed."""
        return self._burst(direction, in_flight, self._plan.burst())

    def _burst(self, direction: str, in_flight: int, times: list[str]) -> dict[str, Any]:
        method = (self._peer.method or {}).get(TRANSFORMS[direction])
        command = module(
            "load" if method else "http_load",
            *("--target", f"127.0.0.1:{self._port}", "--requests", self._file(direction)),
            *("--in-flight", in_flight, *times),
            *(("--method", method) if method else ()),
        )
        return checked(
            run_for_json(command, {self._plan.cores.generator}, timeout=self._plan.patience)
        )

    def _answers(self) -> bool:
        """Whether both transforms answer; what listens need not have loaded them yet."""
        try:
            for direction in DIRECTIONS:
                self._burst(direction, 1, ["--seconds", "0.2", "--warm-up", "0"])
        except BenchmarkError as exc:
            self._last_failure = str(exc)
            return False
        return True

    def _file(self, direction: str) -> Path:
        return self._plan.directory / f"{self._peer.name}-{direction}"


def _exported(directory: Path) -> Path:
    models = directory / "onnx"
    if not models.exists():
        models.mkdir()
        export_transforms(CHECKPOINT, models)
    return models


def _items(plan: Plan, codec: Codec) -> dict[str, list[bytes]]:
    """What the peers transform: images, and the latents that the codec makes of them."""
    images = plan.work.digits[:_NUM_REQUESTS]
    latents = codec.analyse(images, [codec.header.default_level] * len(images))
    return {
        "compress": [one.tobytes() for one in images],
        "decompress": [one.tobytes() for one in latents.astype(ITEM_TYPES["synthesis"])],
    }
