"""One method's calls: counted, timed and logged, and their exceptions turned into statuses."""

from __future__ import annotations

import functools
import logging
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import grpc
from google.rpc import status_pb2

from kompakt_codec.errors import CodecError
from kompakt_service.call import CLOCK_TOLERANCE_SECONDS, Call
from kompakt_service.errors import DETAILS_KEY, STATUS_CODES, CallError, ServiceError, to_status
from kompakt_service.metrics import Metrics, RpcSeries
from kompakt_service.patience import Patience
from kompakt_service.pool import CURRENT

_LOGGER = logging.getLogger(__name__)
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_NEWS_SECONDS = 0.05
"""By how much later than the end of its messages gRPC tells that a caller has left, at most."""
_LOOK_SECONDS = 0.0005
_MALFORMED = object()
"""In place of a message that cannot be parsed."""


class _Began(NamedTuple):
    """When a call began, and whose it is: gRPC forgets that of one that is over."""

    at: float
    peer: str


class Observer:
    """Stands around the behaviour of one method."""

    def __init__(
        self,
        metrics: Metrics,
        grpc_type: str,
        method: str,
        behaviour: Callable[..., Any],
        patience: Patience,
    ) -> None:
        service, _, name = method.removeprefix("/").rpartition("/")
        self._behaviour = behaviour
        self._patience = patience
        self._is_stream = grpc_type != "unary"
        self._labels = (grpc_type, service, name)
        self._metrics = metrics
        self._series: RpcSeries = metrics.rpc(*self._labels)

    def unary(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """Serve a call of one message, which is read only if the call is accepted."""
        began = _Began(time.perf_counter(), context.peer())
        series = self._series
        series.started(1)
        try:
            if CURRENT.refusal is not None:
                refuse(context, CURRENT.refusal)
            # No name for the request here: the behaviour may let go of it, which can be large.
            response = self._behaviour(self._request(requests, context), context)
        except BaseException as exc:
            self._fail(context, exc, began)
            raise
        series.sent(1)
        self._end(context, grpc.StatusCode.OK, began)
        return response

    def _request(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        with self._patience.waiting(context):
            request = the_message(requests, context)
        self._series.received(1)
        return request

    def stream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Serve a stream, message by message."""
        began = _Began(time.perf_counter(), context.peer())
        series = self._series
        series.started(1)
        try:
            if CURRENT.refusal is not None:
                refuse(context, CURRENT.refusal)
            for response in self._behaviour(self._received(requests, context), context):
                series.sent(1)
                self._metrics.notebook.count_at_times()
                yield response
        except BaseException as exc:
            self._fail(context, exc, began)
            raise
        self._end(context, grpc.StatusCode.OK, began)

    def _received(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for request in sound(requests, context):
            self._series.received(1)
            yield request

    def _fail(self, context: grpc.ServicerContext, exc: BaseException, began: _Began) -> None:
        """Give a call that ended in an exception its status, and count it."""
        code = grpc.StatusCode.UNKNOWN
        try:
            if isinstance(exc, GeneratorExit):
                code = grpc.StatusCode.CANCELLED
            elif isinstance(exc, CodecError | ServiceError):
                _abort(context, exc)
            elif isinstance(exc, Exception) and not _is_over(exc, context):
                _LOGGER.error("a call failed", exc_info=exc)
                hidden = "internal error: see the server's log"
                _abort(context, ServiceError("INTERNAL_ERROR", hidden))
        finally:
            self._end(context, code, began)

    def _end(self, context: grpc.ServicerContext, code: grpc.StatusCode, began: _Began) -> None:
        if code is not grpc.StatusCode.OK or self._is_stream:
            code = _code(context) or _ended(context) or code
        seconds = time.perf_counter() - began.at
        self._series.handling(seconds)
        if code is grpc.StatusCode.OK:
            self._series.ok(1)
        else:
            self._metrics.notebook.series(self._metrics.handled, *self._labels, code.name)(1)
        self._metrics.notebook.count_at_times()
        # Refusals come in floods, which a line for each would only make worse.
        is_quiet = code is grpc.StatusCode.OK or CURRENT.refusal is not None
        level = logging.DEBUG if is_quiet else logging.INFO
        if _LOGGER.isEnabledFor(level):
            _log(level, self._labels, context, code, seconds, began.peer)


def _log(
    level: int,
    labels: tuple[str, str, str],
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    seconds: float,
    peer: str,
) -> None:
    extra: dict[str, object] = {
        "grpc_service": labels[1],
        "grpc_method": labels[2],
        "grpc_code": code.name,
        "seconds": round(seconds, 6),
        "peer": urllib.parse.unquote(peer),
    }
    if details := context.details():  # type: ignore[attr-defined]
        extra["detail"] = details.decode() if isinstance(details, bytes) else details
    _LOGGER.log(level, "call", extra=extra)


def _is_over(exc: Exception, context: grpc.ServicerContext) -> bool:
    """Whether an exception says that the caller has left, or is an abort."""
    return isinstance(exc, grpc.RpcError) or _code(context) is not None


def the_message(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
    """The message of a call that has one. Aborts a call that has none, or a malformed one."""
    request = next(requests, None)
    if request is None:
        _await_news(context)
        error = Call.of(context).over()
        if error is not None:  # an upload that its caller gave up
            _abort(context, error)
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "the call needs exactly one message")
    if request is _MALFORMED:
        _abort_malformed(context)
    return request


def sound(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
    """The messages of a stream. Aborts one with a malformed message."""
    for request in requests:
        if request is _MALFORMED:
            _abort_malformed(context)
        yield request


def _await_news(context: grpc.ServicerContext) -> None:
    """Wait until it is known whether the caller of a call without a message cancelled it."""
    until = time.monotonic() + _NEWS_SECONDS
    while context.is_active() and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)


def _abort_malformed(context: grpc.ServicerContext) -> NoReturn:
    context.abort(grpc.StatusCode.INTERNAL, "the message cannot be parsed")


def _abort(context: grpc.ServicerContext, error: CodecError | ServiceError) -> NoReturn:
    """End the call with the error's status and details."""
    status: status_pb2.Status = to_status(error)
    context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
    context.abort(_CODES[status.code], status.message)


def refuse(context: grpc.ServicerContext, refusal: CallError) -> NoReturn:
    """End a refused call, quickly: under overload it is done more often than anything else."""
    message = str(refusal)
    details = _refusal_details(refusal.reason, message, refusal.retry_after_seconds)
    context.set_trailing_metadata(((DETAILS_KEY, details),))
    context.abort(STATUS_CODES[refusal.reason], message)


@functools.lru_cache(1024)
def _refusal_details(reason: str, message: str, after: float | None) -> bytes:
    error = CallError(reason, message, retry_after_seconds=after)
    details: bytes = to_status(error).SerializeToString()
    return details


def _code(context: grpc.ServicerContext) -> grpc.StatusCode | None:
    """The status that was set, if any; types-grpcio does not know the method."""
    code: grpc.StatusCode | None = context.code()  # type: ignore[attr-defined]
    return code


def _ended(context: grpc.ServicerContext) -> grpc.StatusCode | None:
    """Why a call is over that the server did not end; None if it is not."""
    remaining: float | None = context.time_remaining()
    # The end of its stream can arrive before the cancellation.
    if remaining is not None and remaining < CLOCK_TOLERANCE_SECONDS:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return None if context.is_active() else grpc.StatusCode.CANCELLED


def careful_parser(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """A parser that never raises: grpcio leaves a stream of a broken message in a broken state."""
    assert parse is not None

    def careful(data: bytes) -> Any:
        try:
            return parse(data)
        except Exception:
            return _MALFORMED

    return careful
