"""How a client reaches its server."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import nan
from numbers import Real
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from kompakt_client._commands import Patience
from kompakt_client._retry import RetryPolicy
from kompakt_client._timeout import MOST_SECONDS, fault_of_timeout

Token: TypeAlias = str | Callable[[], str]

DEFAULT_TARGET = "localhost:50051"
DEFAULT_TIMEOUT = 30.0
DEFAULT_MESSAGE_BYTES = 64 << 20
MOST_MESSAGE_BYTES = (1 << 31) - 1
"""What gRPC can be told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What both clients are made with."""

    target: str
    credentials: grpc.ChannelCredentials | None = field(repr=False)
    token: Token | None = field(repr=False)
    timeout: float
    """Seconds."""
    retry: RetryPolicy
    max_message_bytes: int
    connections: int

    def __post_init__(self) -> None:
        if not isinstance(self.target, str):
            raise TypeError(f"target must be a string, not {self.target!r}")
        if not self.target.strip():
            raise ValueError(f"target must be HOST:PORT, not {self.target!r}")
        if self.target.lower().startswith(("http://", "https://")):
            raise ValueError(f"target must be HOST:PORT, not the URL {self.target!r}")
        if not (self.token is None or callable(self.token)):
            _check_token(self.token)
        if self.max_message_bytes < 1:
            raise ValueError(f"max_message_bytes must be positive, not {self.max_message_bytes}")
        if self.max_message_bytes > MOST_MESSAGE_BYTES:
            raise ValueError(
                f"max_message_bytes must be at most {MOST_MESSAGE_BYTES}, "
                f"not {self.max_message_bytes}"
            )
        if self.connections < 1:
            raise ValueError(f"connections must be at least 1, not {self.connections}")

    def __str__(self) -> str:
        secrets = {"credentials": self.credentials, "token": self.token}
        masked = "".join(f", {name}=***" for name, secret in secrets.items() if secret is not None)
        return f"{self.target!r}{masked}, timeout={self.timeout:g}"

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of one attempt, with the token of this moment."""
        if self.token is None:
            return ()
        token = _check_token(self.token()) if callable(self.token) else self.token
        return (("authorization", f"Bearer {token}"),)

    def patience(self, timeout: float | None) -> Patience:
        """Return how long a call waits that was given this timeout, or none."""
        if timeout is None:
            return Patience(timeout=self.timeout, retry=self.retry)
        return Patience(timeout=check_timeout(timeout), retry=self.retry)

    @property
    def long_timeout(self) -> float:
        """Seconds for an answer for which the server tries many settings of many codecs."""
        return min(10 * self.timeout, MOST_SECONDS)

    def open_channel(self, api: Any) -> Any:
        """Return a channel of `grpc` or `grpc.aio`, which connects when it is used."""
        options = self.channel_options()
        if self.credentials is None:
            return api.insecure_channel(self.target, options=options)
        return api.secure_channel(self.target, self.credentials, options=options)

    def channel_options(self) -> list[tuple[str, int]]:
        """Return the options of the channel.

        gRPC's own retries are off: they tell no overload from an oversized
        message and give up on requests over 256 KiB. Its waits before it connects
        again are short, so that they do not outlast ours. Each channel has a
        connection of its own, which gRPC would share between them.
        """
        return [
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.enable_retries", 0),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ]


def arguments_from_env(
    environ: Mapping[str, str], *, target: str | None, timeout: float | None
) -> dict[str, Any]:
    """Return a client's arguments from `KOMPAKT_*` variables; what is given wins.

    Raises ValueError if a variable cannot be used; the message names it.
    """
    known = environ.get("KOMPAKT_TARGET") or DEFAULT_TARGET
    return {
        "target": known if target is None else target,
        "credentials": _credentials_from_env(environ),
        "token": _check_token(environ.get("KOMPAKT_TOKEN", ""), "KOMPAKT_TOKEN") or None,
        "timeout": _timeout_from_env(environ) if timeout is None else timeout,
    }


def check_timeout(timeout: float) -> float:
    """Return a timeout of more than 0 seconds and at most a year, as a float.

    NumPy's numbers would make a deadline of their own precision. Raises ValueError for any
    other timeout, and TypeError for what is no number.
    """
    if not isinstance(timeout, Real):
        raise TypeError(f"timeout must be a number of seconds, not {timeout!r}")
    if fault := fault_of_timeout(timeout):
        raise ValueError(f"a timeout {fault}, not {timeout}")
    return float(timeout)


def _check_token(token: str, name: str = "a token") -> str:
    """Return a token that gRPC can send; refuse any other, without showing it."""
    if not isinstance(token, str):
        raise TypeError(f"{name} must be a string, not {type(token).__name__}")
    if not (token.isascii() and token.isprintable()):
        raise ValueError(f"{name} must be plain ASCII without line breaks or control characters")
    return token


def _timeout_from_env(environ: Mapping[str, str]) -> float:
    text = environ.get("KOMPAKT_TIMEOUT")
    if not text:
        return DEFAULT_TIMEOUT
    seconds = nan
    with suppress(ValueError):
        seconds = float(text)
    if fault := fault_of_timeout(seconds):
        raise ValueError(f"KOMPAKT_TIMEOUT {fault}, not {text!r}")
    return seconds


def _credentials_from_env(environ: Mapping[str, str]) -> grpc.ChannelCredentials | None:
    """Return credentials for TLS if a certificate is named, else None for plain text."""
    authority = _file_from_env(environ, "KOMPAKT_CA")
    certificate = _file_from_env(environ, "KOMPAKT_CERT")
    key = _file_from_env(environ, "KOMPAKT_KEY")
    if (certificate is None) != (key is None):
        present, missing = ("CERT", "KEY") if key is None else ("KEY", "CERT")
        raise ValueError(f"KOMPAKT_{present} needs KOMPAKT_{missing} beside it")
    if authority is None and certificate is None:
        return None
    _check_certificates(*map(environ.get, ("KOMPAKT_CA", "KOMPAKT_CERT", "KOMPAKT_KEY")))
    return grpc.ssl_channel_credentials(authority, key, certificate)


def _check_certificates(authority: str | None, certificate: str | None, key: str | None) -> None:
    """Refuse files that TLS cannot use, of which gRPC would say little, and late."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if authority:
            context.load_verify_locations(authority)
    except ssl.SSLError:
        raise ValueError("KOMPAKT_CA names a file that holds no certificate (PEM)") from None
    try:
        if certificate:
            context.load_cert_chain(certificate, key, password=lambda: "")  # gRPC takes none
    except (ssl.SSLError, ValueError):
        raise ValueError(
            "KOMPAKT_CERT and KOMPAKT_KEY must name a certificate and its own key (PEM), the key "
            "without a password"
        ) from None


def _file_from_env(environ: Mapping[str, str], name: str) -> bytes | None:
    path = environ.get(name)
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{name} names a file that cannot be read: {error}") from error
