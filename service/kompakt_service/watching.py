"""``grpc.health.v1.Health``: whether the server serves, to be asked for or watched.

That of grpcio-health-checking holds one lock for all while an answer is on its way, and wants it on
gRPC's own thread when a watcher leaves: two watchers could stop the whole server for good, and one
who takes no answer everybody's checks.
"""

import logging
import threading
from collections.abc import Callable, Collection

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_LOGGER = logging.getLogger(__name__)

_Response = health_pb2.HealthCheckResponse
Send = Callable[[health_pb2.HealthCheckResponse | None], None]
"""Sends an answer and returns once it has left; None ends the call."""


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """The one state of several services. No thread stays with those who watch it."""

    def __init__(self, services: Collection[str]) -> None:
        self._services = frozenset(services)
        self._watchers: set[_Watcher] = set()
        self.status = _Response.NOT_SERVING
        self.has_ended = False

    def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """Tell the state of a service."""
        if request.service not in self._services:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            return _Response()
        return _Response(status=self.status)

    def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext, send: Send
    ) -> None:
        """Tell the state of a service, and whenever it changes."""
        watcher = _Watcher(self, request.service in self._services, context, send)
        self._watchers.add(watcher)
        if not context.add_callback(lambda: self._watchers.discard(watcher)):
            self._watchers.discard(watcher)
        watcher.tell()

    def set(self, status: int) -> None:
        """Change the state."""
        self.status = status
        self._tell_all()

    def end(self) -> None:
        """End every watch, once it has been told the state, since the server stops."""
        self.has_ended = True
        self._tell_all()

    def _tell_all(self) -> None:
        """Not here, nor in turn: some take no answer, or not for long."""
        for watcher in self._watchers.copy():
            try:
                threading.Thread(target=watcher.tell, name="health", daemon=True).start()
            except RuntimeError as exc:  # it would end the stop of the server, and so every call
                _LOGGER.error("no thread to tell a watcher of health", extra={"reason": str(exc)})


class _Watcher:
    """One call of ``Watch``."""

    def __init__(
        self, health: Health, is_known: bool, context: grpc.ServicerContext, send: Send
    ) -> None:
        self._health = health
        self._is_known = is_known
        self._context = context
        self._send = send
        self._told: int | None = None
        self._has_ended = False
        self._lock = threading.Lock()
        """Held while an answer is on its way. gRPC's own thread, which sends it, never takes it."""

    def tell(self) -> None:
        """Send what it does not know yet."""
        with self._lock:
            has_ended = self._health.has_ended  # no state comes after that
            status = self._health.status if self._is_known else _Response.SERVICE_UNKNOWN
            if status != self._told:
                self._told = status
                self._send(_Response(status=status))
            if has_ended and not self._has_ended:
                self._has_ended = True
                self._context.set_code(grpc.StatusCode.UNAVAILABLE)
                self._context.set_details("the server is shutting down")
                self._send(None)
