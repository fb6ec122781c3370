"""``kompakt health``: asks a server whether it serves. Imports no torch, so that it is quick."""

import argparse
import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kompakt_service.environment import without_service_links


def main(argv: list[str]) -> int:
    """Print the server's state. Returns 0 if it serves, else 1."""
    parser = argparse.ArgumentParser(
        prog="kompakt health",
        description="Ask a server whether it serves; exit 0 if it does. Without --target it is "
        "KOMPAKT_TARGET, else localhost and KOMPAKT_PORT.",
    )
    given = without_service_links(os.environ)
    default = given.get("KOMPAKT_TARGET") or f"localhost:{given.get('KOMPAKT_PORT') or 50051}"
    parser.add_argument("--target", default=default, help="host:port (default: %(default)s)")
    parser.add_argument("--service", default="", help="a service's full name (default: the server)")
    parser.add_argument(
        "--timeout", type=seconds, default=4.0, help="seconds (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    request = health_pb2.HealthCheckRequest(service=arguments.service)
    # A container's proxy leads out of it, and knows nothing of the server beside this command.
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(arguments.target, options) as channel:
        try:
            response = health_pb2_grpc.HealthStub(channel).Check(request, timeout=arguments.timeout)
        except grpc.RpcError as exc:
            code = exc.code().name
            why = {
                "NOT_FOUND": f"no such service: {arguments.service!r}",
                "DEADLINE_EXCEEDED": f"no answer within {arguments.timeout:g} s",
            }.get(code, exc.details() or "")
            if "Connection refused" in why:
                why = "is the server running?"
            print(f"kompakt health: {arguments.target}: {code}: {why}", file=sys.stderr)
            return 1
    state = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    print(state)
    return 0 if response.status == health_pb2.HealthCheckResponse.SERVING else 1


def seconds(text: str) -> float:
    """Read a number of seconds, which is more than 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be more than 0 seconds, not {text}")
    return value
