"""``kompakt serve`` with empty methods beside its own, for what only a floor can tell.

``/kompakt.v1.Empty/Compress`` and ``/kompakt.v1.Empty/Decompress`` take and give the messages of
their namesakes, do nothing, and pass the same interceptors on the same server. What the service
adds to them is its own cost.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import prometheus_client
from google.protobuf.message import Message

from kompakt.v1 import compression_pb2 as pb
from kompakt_service import cli
from kompakt_service.series import Notebook

EMPTY_SERVICE = "kompakt.v1.Empty"

_MakeServer = Callable[..., grpc.Server]


def empty_handlers() -> grpc.GenericRpcHandler:
    """Methods that answer an empty message."""
    methods: dict[str, tuple[type[Message], type[Message]]] = {
        "Compress": (pb.CompressRequest, pb.CompressResponse),
        "Decompress": (pb.DecompressRequest, pb.DecompressResponse),
    }
    return grpc.method_handlers_generic_handler(
        EMPTY_SERVICE,
        {
            name: grpc.unary_unary_rpc_method_handler(
                _answer_empty(response),
                request_deserializer=request.FromString,
                response_serializer=response.SerializeToString,
            )
            for name, (request, response) in methods.items()
        },
    )


def _answer_empty(response: type[Message]) -> Callable[[Any, grpc.ServicerContext], Any]:
    def answer(_request: Any, _context: grpc.ServicerContext) -> Any:
        return response()

    return answer


def with_empty_methods(make_server: _MakeServer) -> _MakeServer:
    """A ``grpc.server`` that adds the empty methods."""

    def make(*args: Any, **kwargs: Any) -> grpc.Server:
        server = make_server(*args, **kwargs)
        server.add_generic_rpc_handlers((empty_handlers(),))
        return server

    return make


def stop_observing() -> None:
    """Make every metric and log record of this process do nothing, to tell what they cost."""
    logging.disable()
    for kind in (prometheus_client.Counter, prometheus_client.Gauge, prometheus_client.Histogram):
        for name in {"inc", "dec", "set", "observe"} & set(dir(kind)):
            setattr(kind, name, _do_nothing)
        setattr(kind, "labels", _return_self)  # noqa: B010 - mypy takes no assigned method
    for name in ("watch", "count", "count_at_times"):
        setattr(Notebook, name, _do_nothing)
    setattr(Notebook, "series", _note_nothing)  # noqa: B010


def _do_nothing(*_: object, **__: object) -> None:
    pass


def _return_self(metric: object, *_: object, **__: object) -> object:
    return metric


def _note_nothing(*_: object) -> Callable[..., None]:
    return _do_nothing


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; what is not a flag of its own goes to ``kompakt serve``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.launcher", description=__doc__)
    parser.add_argument(
        "--unobserved", action="store_true", help="without metrics and the log of calls"
    )
    arguments, rest = parser.parse_known_args(argv)
    if arguments.unobserved:
        stop_observing()
    grpc.server = with_empty_methods(grpc.server)
    return cli.main(rest)


if __name__ == "__main__":
    sys.exit(main())
