"""What the two clients have in common: how they are made, shown and connected."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from kompakt.v1.compression_pb2_grpc import (
    CompressionServiceStub,
    ModelAdminServiceStub,
    ModelServiceStub,
)
from kompakt_client._config import (
    DEFAULT_MESSAGE_BYTES,
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT,
    Settings,
    Token,
    arguments_from_env,
    check_timeout,
)
from kompakt_client._errors import KompaktError
from kompakt_client._link import Event, Link
from kompakt_client._many import Run
from kompakt_client._plans import Many
from kompakt_client._retry import DEFAULT_RETRY, RetryPolicy

R = TypeVar("R")

_CLOSED = "the client is closed"


class BaseClient:
    """Where the server is and how it is called."""

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        token: Token | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retry: RetryPolicy = DEFAULT_RETRY,
        max_message_bytes: int = DEFAULT_MESSAGE_BYTES,
        connections: int = 1,
    ) -> None:
        """Configure a client; it connects at the first call.

        `target` is the server's address, as gRPC names it. `credentials` are for
        TLS, from `grpc.ssl_channel_credentials`; None means plain text. `token` is
        sent as a bearer token; a callable is asked before each attempt. `timeout`
        is in seconds, for one answer, all attempts included: a list that needs
        several requests, or a stream, may take that long for each. `retry` says
        how often and how fast a failed call is tried again. `max_message_bytes`
        bounds what is sent and what is accepted. `connections` are opened to the
        server and used in turn, so that one with several workers uses them all.

        Raises ValueError for a number that is not positive, a timeout over a year,
        messages of 2 GiB, or a token that is not plain ASCII.
        """
        self._settings = Settings(
            target=target,
            credentials=credentials,
            token=token,
            timeout=check_timeout(timeout),
            retry=retry,
            max_message_bytes=max_message_bytes,
            connections=connections,
        )
        self._lock = threading.Lock()
        self._turns = itertools.cycle(range(connections))
        self._channels: dict[tuple[Any, int], Any] = {}
        self._rpcs: dict[tuple[Any, int], dict[str, Any]] = {}
        self._closed = False

    @classmethod
    def from_env(
        cls,
        *,
        target: str | None = None,
        timeout: float | None = None,
        retry: RetryPolicy = DEFAULT_RETRY,
        connections: int = 1,
    ) -> Self:
        """Return a client configured by the environment; what is given here wins.

        KOMPAKT_TARGET is the address, KOMPAKT_TIMEOUT in seconds, KOMPAKT_TOKEN the
        bearer token. For TLS, KOMPAKT_CA is the path of the authority's certificate,
        and KOMPAKT_CERT and KOMPAKT_KEY are those of the client's own, all PEM.

        Raises ValueError if a variable cannot be used; the message names it.
        """
        arguments = arguments_from_env(os.environ, target=target, timeout=timeout)
        return cls(**arguments, retry=retry, connections=connections)

    @property
    def target(self) -> str:
        """The server's address."""
        return self._settings.target

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings})"

    def _connect(self, api: Any, number: int | None = None) -> dict[str, Any]:
        """Return the methods of all services by name, on a channel of `grpc` or `grpc.aio`.

        It is the one of this number, or the next in turn.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError(_CLOSED)
            key = (api, next(self._turns) if number is None else number)
            if key not in self._channels:
                self._channels[key] = self._settings.open_channel(api)
                services = (CompressionServiceStub, ModelServiceStub, ModelAdminServiceStub)
                stubs = [service(self._channels[key]) for service in services]
                self._rpcs[key] = {name: rpc for s in stubs for name, rpc in vars(s).items()}
            return self._rpcs[key]

    def _begin(
        self, many: Many[R], report: Callable[[Event], None], *, ordered: bool = True
    ) -> Run[R]:
        """Return a run whose streams report to the client; one that pools has one stream."""

        def open_link(number: int, method: str, message: Message, wait: bool) -> Link:
            rpc = self._connect(grpc, number)[method]
            return Link(rpc, message, self._settings, report, wait=wait)

        connections = 1 if many.operation.pools else self._settings.connections
        return Run(
            many.operation,
            many.patience,
            self.target,
            open_link,
            connections=connections,
            ordered=ordered,
        )

    @contextmanager
    def _until_closed(self) -> Iterator[None]:
        """Fail as later calls do where the client is closed, unless the server said why."""
        try:
            yield
        except KompaktError as error:
            if self._closed and not error.reason:
                raise RuntimeError(_CLOSED) from error
            raise

    def _disconnect(self, api: Any) -> list[Any]:
        """Refuse further calls, and return the channels of an API for closing."""
        with self._lock:
            self._closed = True
            return [channel for (kind, _), channel in self._channels.items() if kind is api]
