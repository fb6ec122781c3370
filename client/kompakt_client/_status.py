"""Failures of gRPC and statuses of items, turned into the client's exceptions.

The one place where they cross. The details of a failed call travel as a
google.rpc.Status in its trailing metadata.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from kompakt_client._errors import (
    ERROR_DOMAIN,
    DeadlineExceededError,
    FieldViolation,
    KompaktError,
    ServerError,
    error_class,
)

_Detail = TypeVar("_Detail", bound=Message)

_TOO_LARGE = re.compile(r"(CLIENT|SERVER): \w+ message larger than max \((\d+) vs\. (\d+)\)")
"""What gRPC says of one."""
_RESET = "RST_STREAM"
"""What gRPC says of a stream without a status: a proxy so ends those of a server that has died."""
_DETAILS_KEY = "grpc-status-details-bin"
_CODE_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}


def error_of_call(error: grpc.RpcError, target: str) -> KompaktError:
    """Return the exception for a call that failed."""
    status = _status_of(error.trailing_metadata() or ())
    code, message = error.code().name, error.details() or ""
    if code == "INTERNAL" and _RESET in message:
        code = "UNAVAILABLE"
    made = _error(code, message, status, target)
    made.__cause__ = error
    return made


def error_of_channel(error: ValueError) -> KompaktError:
    """Return the exception for a call that could not begin: its channel was closed just before."""
    made = KompaktError(f"the call could not begin: {error}", code="CANCELLED")
    made.__cause__ = error
    return made


def error_of_item(status: status_pb2.Status) -> KompaktError:
    """Return the exception for an item that failed."""
    return _error(_CODE_NAMES.get(status.code, "UNKNOWN"), status.message, status, "")


def deadline_error(target: str) -> DeadlineExceededError:
    """Return the exception for an answer that did not come in time."""
    return DeadlineExceededError(_in_time(target), code="DEADLINE_EXCEEDED")


def broken_answer(what: str) -> ServerError:
    """Return the exception for an answer that breaks the contract."""
    return ServerError(f"the server's answer breaks the contract: {what}", code="INTERNAL")


def _error(code: str, message: str, status: status_pb2.Status, target: str) -> KompaktError:
    info = _detail(status, error_details_pb2.ErrorInfo())
    request = _detail(status, error_details_pb2.BadRequest())
    retry = _detail(status, error_details_pb2.RetryInfo())
    ours = info is not None and info.domain == ERROR_DOMAIN
    reason = info.reason if ours and info else ""
    delay = retry.retry_delay if retry else None
    # Any server may say anything: a timedelta would overflow, and nobody waits less than no time.
    retry_after = max(0.0, delay.seconds + delay.nanos / 1e9) if delay else None
    violations = request.field_violations if request else ()
    return error_class(code, reason, retry_after=retry_after)(
        message if reason else _explain(code, message, target),
        code=code,
        reason=reason,
        violations=tuple(
            FieldViolation(field=violation.field, description=violation.description)
            for violation in violations
        ),
        retry_after=retry_after,
        metadata=info.metadata if info else {},
    )


def _explain(code: str, message: str, target: str) -> str:
    """Say what a failure of the transport means."""
    if code == "UNAVAILABLE":
        return f"cannot reach {target}: {message}"
    if code == "DEADLINE_EXCEEDED":
        return _in_time(target)
    if large := _TOO_LARGE.search(message):
        side, size, limit = large.groups()
        return f"a message of {size} bytes is over the {side.lower()}'s limit of {limit} bytes"
    return message or f"the call failed with {code}"


def _in_time(target: str) -> str:
    return f"no answer from {target} in time: give it a longer timeout, or less to do"


def _status_of(metadata: Iterable[Any]) -> status_pb2.Status:
    for key, value in metadata:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            with contextlib.suppress(DecodeError):
                return status_pb2.Status.FromString(value)
    return status_pb2.Status()


def _detail(status: status_pb2.Status, empty: _Detail) -> _Detail | None:
    """Return the first detail of this type."""
    for detail in status.details:
        if detail.Is(empty.DESCRIPTOR):
            with contextlib.suppress(DecodeError):
                detail.Unpack(empty)
                return empty
    return None
