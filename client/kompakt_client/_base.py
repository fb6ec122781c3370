"""What the two clients have in common: how they are made, shown and connected."""

from __future__ import annotations

import os
import threading
from typing import Any, Self

import grpc

from kompakt.v1.compression_pb2_grpc import CompressionServiceStub, ModelServiceStub
from kompakt_client._config import (
    DEFAULT_MESSAGE_BYTES,
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT,
    Settings,
    Token,
    arguments_from_env,
)
from kompakt_client._retry import DEFAULT_RETRY, RetryPolicy


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
    ) -> None:
        """Configure a client; it connects at the first call.

        `target` is the server's address, as gRPC names it. `credentials` are for
        TLS, from `grpc.ssl_channel_credentials`; None means plain text. `token` is
        sent as a bearer token; a callable is asked before each attempt. `timeout`
        is in seconds, for one answer, all attempts included: a list that needs
        several requests, or a stream, may take that long for each. `retry` says
        how often and how fast a failed call is tried again. `max_message_bytes`
        bounds what is sent and what is accepted.

        Raises ValueError for a timeout or a number of bytes that is not positive.
        """
        self._settings = Settings(
            target=target,
            credentials=credentials,
            token=token,
            timeout=timeout,
            retry=retry,
            max_message_bytes=max_message_bytes,
        )
        self._lock = threading.Lock()
        self._channels: dict[Any, Any] = {}
        self._rpcs: dict[Any, dict[str, Any]] = {}
        self._closed = False

    @classmethod
    def from_env(
        cls,
        *,
        target: str | None = None,
        timeout: float | None = None,
        retry: RetryPolicy = DEFAULT_RETRY,
    ) -> Self:
        """Return a client configured by the environment; what is given here wins.

        KOMPAKT_TARGET is the address, KOMPAKT_TIMEOUT in seconds, KOMPAKT_TOKEN the
        bearer token. For TLS, KOMPAKT_CA is the path of the authority's certificate,
        and KOMPAKT_CERT and KOMPAKT_KEY are those of the client's own, all PEM.

        Raises ValueError if a variable cannot be used; the message names it.
        """
        arguments = arguments_from_env(os.environ, target=target, timeout=timeout)
        return cls(**arguments, retry=retry)

    @property
    def target(self) -> str:
        """The server's address."""
        return self._settings.target

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings})"

    def _connect(self, api: Any) -> dict[str, Any]:
        """Return the methods of both services by name, on a channel of `grpc` or `grpc.aio`."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the client is closed")
            if api not in self._channels:
                self._channels[api] = self._settings.open_channel(api)
                compression = CompressionServiceStub(self._channels[api])
                models = ModelServiceStub(self._channels[api])
                self._rpcs[api] = {**vars(compression), **vars(models)}
            return self._rpcs[api]

    def _disconnect(self) -> dict[Any, Any]:
        """Refuse further calls, and return the channels for closing."""
        with self._lock:
            self._closed = True
            return self._channels
