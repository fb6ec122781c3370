"""Ray Serve behind its gRPC proxy: /kompakt.benchmark.Transform/analysis and /synthesis.

Messages are google.protobuf.BytesValue.
"""

import queue
import signal
import socket
from typing import Any

import grpc
import ray
from google.protobuf.wrappers_pb2 import BytesValue
from ray import serve
from ray.serve.config import gRPCOptions

from benchmarks.peers import TRANSFORMS
from benchmarks.peers.transform import MAX_BATCH, MAX_WAIT_SECONDS, Transform, parse_arguments

SERVICE = "kompakt.benchmark.Transform"


@serve.deployment(max_ongoing_requests=2 * MAX_BATCH)
class Transforms:
    """Both transforms in one replica."""

    def __init__(self, models: str) -> None:
        self._transforms = {name: Transform(models, name) for name in TRANSFORMS.values()}

    async def analysis(self, request: BytesValue) -> BytesValue:
        """One image to its latents."""
        return BytesValue(value=await self._analyse(request.value))

    async def synthesis(self, request: BytesValue) -> BytesValue:
        """One image's latents to it."""
        return BytesValue(value=await self._synthesise(request.value))

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=MAX_WAIT_SECONDS)
    async def _analyse(self, items: list[bytes]) -> list[bytes]:
        return self._transforms["analysis"].of_bytes(items)

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=MAX_WAIT_SECONDS)
    async def _synthesise(self, items: list[bytes]) -> list[bytes]:
        return self._transforms["synthesis"].of_bytes(items)


def add_servicer(servicer: Any, server: Any) -> None:
    """What protoc would generate; Ray's proxy puts its own behaviour in the methods' place."""
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, name),
            request_deserializer=BytesValue.FromString,
            response_serializer=BytesValue.SerializeToString,
        )
        for name in TRANSFORMS.values()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Serve until a signal."""
    arguments = parse_arguments("ray_server", __doc__)
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()  # a handler may put to it at any time
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _: signals.put(caught))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(
        grpc_options=gRPCOptions(
            port=arguments.port,
            grpc_servicer_functions=["benchmarks.peers.ray_server.add_servicer"],
        ),
        http_options={"host": "127.0.0.1", "port": _free_port()},  # without it there is no proxy,
    )
    serve.run(Transforms.bind(arguments.models))  # type: ignore[attr-defined]
    signals.get()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
