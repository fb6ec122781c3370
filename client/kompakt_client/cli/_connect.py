"""The connection of a command to its server."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from kompakt_client._client import Client
from kompakt_client._errors import UnavailableError
from kompakt_client.cli._errors import UsageError

_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
"""The variables that gRPC looks for one in, in this order."""


@contextmanager
def connect(args: argparse.Namespace) -> Iterator[Client]:
    """Yield a client by the arguments and the environment; say so if no server is there."""
    try:
        client = Client.from_env(
            target=args.target,
            timeout=args.timeout,
            connections=getattr(args, "connections", 1),
        )
    except ValueError as error:
        raise UsageError(error) from error
    with client:
        try:
            yield client
        except UnavailableError as error:
            hint = _hint(client.target, str(error))
            if error.reason or hint is None:
                raise
            raise UnavailableError(f"cannot reach {client.target}: {hint}") from error


def _hint(target: str, why: str) -> str | None:
    """Return what helps; None if there is something, such as a proxy, that says more itself."""
    host, colon, port = target.rpartition(":")
    if not colon:
        return f"name its port too, as {target}:50051 (without one it is 443)"
    if "Connection refused" not in why:
        return None
    if f":{port}: Failed to connect" in why:
        return "is the server running? start it with `kompakt serve`"
    for variable in filter(os.environ.get, _PROXIES):
        return f"the proxy that {variable} names refuses connections; no_proxy={host} goes past it"
    return None
