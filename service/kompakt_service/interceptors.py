"""What every RPC gets: admission, metrics, a log record, and errors mapped to statuses."""

from __future__ import annotations

import functools
import logging
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, NoReturn, TypeAlias

import grpc
from google.rpc import status_pb2

from kompakt_codec.errors import CodecError
from kompakt_service.call import CLOCK_TOLERANCE_SECONDS
from kompakt_service.errors import DETAILS_KEY, CallError, ServiceError, to_status
from kompakt_service.metrics import Metrics, RpcSeries
from kompakt_service.pool import CURRENT, CallPool

_LOGGER = logging.getLogger(__name__)
_POOL_ATTRIBUTE = "experimental_thread_pool"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_MALFORMED = object()
"""In place of a message that cannot be parsed."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class CallInterceptor(grpc.ServerInterceptor):
    """Puts every method of ours behind its pool, which refuses calls, and its observer.

    Streams and reflection have threads of their own and never keep single calls waiting; the
    server's pool is for health.
    """

    def __init__(self, metrics: Metrics, unary: CallPool, streams: CallPool) -> None:
        self._metrics = metrics
        self._unary = unary
        self._streams = streams
        self._reflection = futures.ThreadPoolExecutor(2, thread_name_prefix="reflection")
        self._admin = futures.ThreadPoolExecutor(1, thread_name_prefix="admin")
        # Handlers do not change, so that what is around them is made once.
        self._handlers: dict[str, Handler] = {}
        for kind, pool in (("unary", unary), ("stream", streams)):
            metrics.notebook.watch(metrics.pending_calls.labels(kind), pool.num_pending)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler."""
        method = handler_call_details.method
        wrapped = self._handlers.get(method)
        if wrapped is not None:
            return wrapped
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        if method.startswith("/kompakt."):
            wrapped = self._handlers[method] = self._wrapped(method, handler)
            return wrapped
        if method.startswith("/grpc.reflection."):
            assert handler.stream_stream is not None
            return grpc.stream_stream_rpc_method_handler(
                _on_pool(handler.stream_stream, self._reflection),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        return handler

    def close(self) -> None:
        """Let the pools' threads end."""
        for pool in (self._unary, self._streams, self._reflection, self._admin):
            pool.shutdown(wait=False)

    def _wrapped(self, method: str, handler: Handler) -> Handler:
        """The contract has unary and bidirectional methods only.

        A unary one is told to grpcio as a method of a stream of messages, which is the same on the
        wire, so that a call can be refused before its message is read.
        """
        pool: futures.ThreadPoolExecutor
        if handler.stream_stream is not None:
            observer = _Observer(self._metrics, "bidi_stream", method, handler.stream_stream)
            behaviour, pool = observer.stream, self._streams
            make = grpc.stream_stream_rpc_method_handler
        else:
            assert handler.unary_unary is not None
            observer = _Observer(self._metrics, "unary", method, handler.unary_unary)
            is_admin = method.startswith("/kompakt.v1.ModelAdminService/")
            behaviour, pool = observer.unary, self._admin if is_admin else self._unary
            make = grpc.stream_unary_rpc_method_handler
        return make(
            _on_pool(behaviour, pool),
            request_deserializer=_careful(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )


class _Observer:
    """Stands around the behaviour of one method."""

    def __init__(
        self, metrics: Metrics, grpc_type: str, method: str, behaviour: Callable[..., Any]
    ) -> None:
        service, _, name = method.removeprefix("/").rpartition("/")
        self._behaviour = behaviour
        self._labels = (grpc_type, service, name)
        self._metrics = metrics
        self._series: RpcSeries = metrics.rpc(*self._labels)

    def unary(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """Serve a call of one message, which is read only if the call is accepted."""
        started = time.perf_counter()
        series = self._series
        series.started(1)
        try:
            if CURRENT.refusal is not None:
                _refuse(context, CURRENT.refusal)
            request = _the_message(requests, context)
            series.received(1)
            response = self._behaviour(request, context)
        except BaseException as exc:
            self._fail(context, exc, started)
            raise
        series.sent(1)
        self._end(context, grpc.StatusCode.OK, started)
        return response

    def stream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Serve a stream, message by message."""
        started = time.perf_counter()
        series = self._series
        series.started(1)
        try:
            if CURRENT.refusal is not None:
                _refuse(context, CURRENT.refusal)
            for response in self._behaviour(self._received(requests, context), context):
                series.sent(1)
                self._metrics.notebook.count_at_times()
                yield response
        except BaseException as exc:
            self._fail(context, exc, started)
            raise
        self._end(context, grpc.StatusCode.OK, started)

    def _received(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for request in requests:
            if request is _MALFORMED:
                _abort_malformed(context)
            self._series.received(1)
            yield request

    def _fail(self, context: grpc.ServicerContext, exc: BaseException, started: float) -> None:
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
            self._end(context, code, started)

    def _end(self, context: grpc.ServicerContext, code: grpc.StatusCode, started: float) -> None:
        code = _code(context) or _ended(context) or code
        seconds = time.perf_counter() - started
        self._series.handling(seconds)
        if code is grpc.StatusCode.OK:
            self._series.ok(1)
        else:
            self._metrics.notebook.series(self._metrics.handled, *self._labels, code.name)(1)
        self._metrics.notebook.count_at_times()
        level = logging.DEBUG if code is grpc.StatusCode.OK else logging.INFO
        if _LOGGER.isEnabledFor(level):
            _log(level, self._labels, context, code, seconds)


def _log(
    level: int,
    labels: tuple[str, str, str],
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    seconds: float,
) -> None:
    extra: dict[str, object] = {
        "grpc_service": labels[1],
        "grpc_method": labels[2],
        "grpc_code": code.name,
        "seconds": round(seconds, 6),
        "peer": urllib.parse.unquote(context.peer()),
    }
    if details := context.details():  # type: ignore[attr-defined]
        extra["detail"] = details.decode() if isinstance(details, bytes) else details
    _LOGGER.log(level, "call", extra=extra)


def _is_over(exc: Exception, context: grpc.ServicerContext) -> bool:
    """Whether an exception says that the caller has left, or is an abort."""
    return isinstance(exc, grpc.RpcError) or _code(context) is not None


def _the_message(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
    request = next(requests, None)
    if request is None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "the call needs exactly one message")
    if request is _MALFORMED:
        _abort_malformed(context)
    return request


def _abort_malformed(context: grpc.ServicerContext) -> NoReturn:
    context.abort(grpc.StatusCode.INTERNAL, "the message cannot be parsed")


def _abort(context: grpc.ServicerContext, error: CodecError | ServiceError) -> NoReturn:
    """End the call with the error's status and details."""
    status: status_pb2.Status = to_status(error)
    context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
    context.abort(_CODES[status.code], status.message)


def _refuse(context: grpc.ServicerContext, refusal: CallError) -> NoReturn:
    """As ``_abort``, quickly: under overload it is done more often than anything else."""
    message = str(refusal)
    details = _refusal_details(message, refusal.retry_after_seconds)
    context.set_trailing_metadata(((DETAILS_KEY, details),))
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


@functools.lru_cache(1024)
def _refusal_details(message: str, after: float | None) -> bytes:
    error = CallError("QUEUE_FULL", message, retry_after_seconds=after)
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


def _on_pool(behaviour: Callable[..., Any], pool: futures.ThreadPoolExecutor) -> Callable[..., Any]:
    """The same behaviour, run on a pool."""
    # grpcio reads the pool from an attribute of the behaviour; a partial can carry one.
    wrapped = functools.partial(behaviour)
    setattr(wrapped, _POOL_ATTRIBUTE, pool)
    return wrapped


def _careful(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """A parser that never raises: grpcio leaves a stream of a broken message in a broken state."""
    assert parse is not None

    def careful(data: bytes) -> Any:
        try:
            return parse(data)
        except Exception:
            return _MALFORMED

    return careful
