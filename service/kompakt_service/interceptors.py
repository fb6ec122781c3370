"""What every RPC gets: admission, metrics, a log record, and errors mapped to statuses."""

from __future__ import annotations

import functools
import logging
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc
from google.rpc import status_pb2
from prometheus_client import Counter, Gauge

from kompakt_codec.errors import CodecError
from kompakt_service.errors import DETAILS_KEY, ServiceError, to_status
from kompakt_service.metrics import Metrics

_LOGGER = logging.getLogger(__name__)
_CLOCK_TOLERANCE_SECONDS = 0.02
_POOL_ATTRIBUTE = "experimental_thread_pool"
_CODES = {code.value[0]: code for code in grpc.StatusCode}

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Labels = tuple[str, str, str]
"""grpc_type, grpc_service and grpc_method."""


class CountingPool(futures.ThreadPoolExecutor):
    """A thread pool that knows how many of its tasks wait or run, and how many are too many."""

    def __init__(self, max_workers: int, *, max_pending: int, name: str, gauge: Gauge) -> None:
        super().__init__(max_workers, thread_name_prefix=name)
        self.max_pending = max_pending
        self.pending = 0
        self._gauge = gauge
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        """Run a task when a thread is free."""
        self._add(1)
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(lambda _: self._add(-1))
        return future

    def _add(self, change: int) -> None:
        with self._lock:
            self.pending += change
            self._gauge.set(self.pending)


class AdmissionInterceptor(grpc.ServerInterceptor):
    """Refuses a call at once where the pool that would serve it has too many already.

    Calls are counted from their arrival, also while they wait for a thread. Streams and reflection
    have threads of their own and never keep single calls waiting; the server's pool is for health.
    """

    def __init__(self, unary: CountingPool, streams: CountingPool) -> None:
        self._unary = unary
        self._streams = streams
        self._refusals = futures.ThreadPoolExecutor(2, thread_name_prefix="refusal")
        self._reflection = futures.ThreadPoolExecutor(2, thread_name_prefix="reflection")

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Choose the pool, or refuse."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        if handler_call_details.method.startswith("/grpc.reflection."):
            return _replaced(handler, _behaviour(handler), self._reflection)
        if not _is_ours(handler_call_details):
            return handler
        pool = self._streams if handler.request_streaming else self._unary
        if pool.pending < pool.max_pending:
            return _replaced(handler, _behaviour(handler), pool)
        return _replaced(handler, _refuse, self._refusals)

    def close(self) -> None:
        """Let the pools' threads end."""
        for pool in (self._unary, self._streams, self._refusals, self._reflection):
            pool.shutdown(wait=False)


def _refuse(_request: Any, _context: grpc.ServicerContext) -> Any:
    message = "the server has as many calls as it can take; try again in 0.1 s"
    raise ServiceError("QUEUE_FULL", message, retry_after_seconds=0.1)


class ObservingInterceptor(grpc.ServerInterceptor):
    """Counts, times and logs every RPC, and turns exceptions into statuses."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler."""
        handler = continuation(handler_call_details)
        if handler is None or not _is_ours(handler_call_details):
            return handler
        service, _, method = handler_call_details.method.removeprefix("/").rpartition("/")
        labels = (_kind(handler), service, method)
        observe = self._stream if handler.response_streaming else self._unary
        return _replaced(handler, functools.partial(observe, labels, handler))

    def _unary(
        self, labels: _Labels, handler: Handler, request: Any, context: grpc.ServicerContext
    ) -> Any:
        with self._observed(labels, context):
            self._metrics.received.labels(*labels).inc()
            response = _behaviour(handler)(request, context)
            self._metrics.sent.labels(*labels).inc()
            return response

    def _stream(
        self, labels: _Labels, handler: Handler, requests: Any, context: grpc.ServicerContext
    ) -> Iterator[Any]:
        received, sent = self._metrics.received.labels(*labels), self._metrics.sent.labels(*labels)
        with self._observed(labels, context):
            responses = _behaviour(handler)(_counted(requests, received), context)
            yield from _counted(responses, sent)

    @contextmanager
    def _observed(self, labels: _Labels, context: grpc.ServicerContext) -> Iterator[None]:
        started = time.perf_counter()
        self._metrics.started.labels(*labels).inc()
        code = grpc.StatusCode.UNKNOWN
        try:
            with _mapped_errors(context):
                yield
            code = grpc.StatusCode.OK
        except GeneratorExit:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            code = _code(context) or _ended(context) or code
            seconds = time.perf_counter() - started
            self._metrics.handled.labels(*labels, code.name).inc()
            self._metrics.handling.labels(*labels).observe(seconds)
            self._log(labels, context, code, seconds)

    @staticmethod
    def _log(
        labels: _Labels,
        context: grpc.ServicerContext,
        code: grpc.StatusCode,
        seconds: float,
    ) -> None:
        level = logging.DEBUG if code is grpc.StatusCode.OK else logging.INFO
        if not _LOGGER.isEnabledFor(level):
            return
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


def _counted(items: Iterator[Any], counter: Counter) -> Iterator[Any]:
    for item in items:
        counter.inc()
        yield item


@contextmanager
def _mapped_errors(context: grpc.ServicerContext) -> Iterator[None]:
    try:
        yield
    except (CodecError, ServiceError) as exc:
        _abort(context, exc)
    except grpc.RpcError:  # the caller left in the middle of its stream
        raise
    except Exception:
        if _code(context) is None:  # not an abort, which raises after it has set the code
            _LOGGER.exception("a call failed")
            _abort(context, ServiceError("INTERNAL_ERROR", "internal error: see the server's log"))
        raise


def _abort(context: grpc.ServicerContext, error: CodecError | ServiceError) -> None:
    """End the call with the error's status and details."""
    status: status_pb2.Status = to_status(error)
    context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
    context.abort(_CODES[status.code], status.message)


def _code(context: grpc.ServicerContext) -> grpc.StatusCode | None:
    """The status that was set, if any; types-grpcio does not know the method."""
    code: grpc.StatusCode | None = context.code()  # type: ignore[attr-defined]
    return code


def _ended(context: grpc.ServicerContext) -> grpc.StatusCode | None:
    """Why a call is over that the server did not end; None if it is not."""
    remaining: float | None = context.time_remaining()
    # A caller cancels at its own deadline, a moment ahead of this clock, and the end of its stream
    # can arrive before the cancellation.
    if remaining is not None and remaining < _CLOCK_TOLERANCE_SECONDS:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return None if context.is_active() else grpc.StatusCode.CANCELLED


def _is_ours(details: grpc.HandlerCallDetails) -> bool:
    return details.method.startswith("/kompakt.")


def _kind(handler: Handler) -> str:
    """The value of grpc_type. The contract has unary and bidirectional methods only."""
    return "bidi_stream" if handler.request_streaming else "unary"


def _behaviour(handler: Handler) -> Callable[[Any, grpc.ServicerContext], Any]:
    behaviour = handler.stream_stream if handler.request_streaming else handler.unary_unary
    assert behaviour is not None
    return behaviour


def _replaced(
    handler: Handler,
    behaviour: Callable[[Any, grpc.ServicerContext], Any],
    pool: futures.ThreadPoolExecutor | None = None,
) -> Handler:
    """The same handler with another behaviour, run on another pool if one is given."""
    # grpcio reads the pool from an attribute of the behaviour; a partial can carry one.
    wrapped = functools.partial(behaviour)
    chosen = pool or getattr(_behaviour(handler), _POOL_ATTRIBUTE)
    setattr(wrapped, _POOL_ATTRIBUTE, chosen)
    make = (
        grpc.stream_stream_rpc_method_handler
        if handler.request_streaming
        else grpc.unary_unary_rpc_method_handler
    )
    return make(
        wrapped,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
