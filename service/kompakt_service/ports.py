"""The ports that a server listens on, and the page of its metrics."""

import errno
import socket
from contextlib import ExitStack, suppress
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import CollectorRegistry, start_http_server


class StartError(Exception):
    """The server cannot start; the message says why."""


def address(host: str, port: int) -> str:
    """As gRPC takes it and people read it: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def cannot_listen(host: str, port: int) -> StartError:
    """The error of a gRPC port that cannot be had."""
    return StartError(
        f"cannot listen on {address(host, port)}: is the port in use? choose another with --port"
    )


def hold_port(host: str, port: int) -> socket.socket:
    """Take a port that several processes are to share; 0 picks a free one.

    The socket does not listen, so it gets no connection, but while it is open no other server
    can take the port by mistake. Raises StartError if the port is taken, also by a server that
    would share it, or if there is no such address here.
    """
    try:
        family, kind, _, _, sockaddr = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with ExitStack() as stack:
            holder = stack.enter_context(socket.socket(family, kind))
            # Connections of an earlier server that are still closing must not count.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(sockaddr)
            # Only now, since two sockets that both ask for it before would both get the port.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            stack.pop_all()
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise cannot_listen(host, port) from exc
        raise StartError(f"cannot listen on {address(host, port)}: {exc}") from exc
    return holder


def require_metrics_port(host: str, port: int) -> None:
    """Raise StartError if a page of metrics could not have this port."""
    try:
        hold_port(host, port).close()
    except StartError as exc:
        raise _cannot_serve(host, port, exc.__cause__) from exc


def _cannot_serve(host: str, port: int, why: BaseException | None) -> StartError:
    return StartError(
        f"cannot serve metrics on {address(host, port)}: {why}; "
        "choose another port with --metrics-port"
    )


class Reader(WSGIRequestHandler):
    """A connection to the page. It may break off, or say nothing for so long, without a word."""

    timeout = 30.0

    def handle(self) -> None:
        """Answer, and keep off stderr what becomes of the connection: that is for records."""
        with suppress(OSError):
            super().handle()

    def log_message(self, *_: Any, **__: Any) -> None:
        """Log nothing: who reads metrics does so all the time."""


class MetricsPage:
    """Serves a registry over HTTP until it is closed. Raises StartError if the port is taken."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as exc:
            raise _cannot_serve(host, port, exc) from exc
        self._server.RequestHandlerClass = Reader
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
