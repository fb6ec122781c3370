"""What every RPC gets: a pool that admits it, and an observer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent import futures
from typing import Any, TypeAlias

import grpc

from kompakt_service.guarding import Guard, side_pool
from kompakt_service.metrics import Metrics
from kompakt_service.observing import Observer, careful_parser
from kompakt_service.patience import Patience
from kompakt_service.pool import CallPool

_POOL_ATTRIBUTE = "experimental_thread_pool"
_SENDING_ATTRIBUTE = "experimental_non_blocking"
"""Of a behaviour that is given a function to send with, in place of returning an iterator."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class CallInterceptor(grpc.ServerInterceptor):
    """Puts every method of ours behind its pool, which refuses calls, and its observer.

    Streams, changes of the models, health and reflection have threads of their own and never keep
    single calls waiting, nor each other.
    """

    def __init__(
        self, metrics: Metrics, unary: CallPool, streams: CallPool, admin: CallPool
    ) -> None:
        self._metrics = metrics
        self._unary = unary
        self._streams = streams
        self._admin = admin
        self._patience = {pool: Patience(pool.is_crowded) for pool in (unary, streams, admin)}
        self._health, self._reflection = side_pool(4, "health"), side_pool(2, "reflection")
        # Handlers do not change, so that what is around them is made once.
        self._handlers: dict[str, Handler] = {}
        for kind, pool in (("unary", unary), ("stream", streams), ("admin", admin)):
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
        wrapped = self._handlers[method] = self._wrapped(method, handler)
        return wrapped

    def close(self) -> None:
        """Let the pools' threads end."""
        for pool in (self._unary, self._streams, self._admin, self._health, self._reflection):
            pool.shutdown(wait=False)

    def _wrapped(self, method: str, handler: Handler) -> Handler:
        """The contract has unary and bidirectional methods only.

        A unary one is told to grpcio as a method of a stream of messages, which is the same on the
        wire, so that a call can be refused before its message is read.
        """
        if not method.startswith("/kompakt."):
            return self._guarded(handler)
        is_admin = method.startswith("/kompakt.v1.ModelAdminService/")
        if handler.stream_stream is not None:
            pool, kind, inner = self._streams, "bidi_stream", handler.stream_stream
            make = grpc.stream_stream_rpc_method_handler
        else:
            assert handler.unary_unary is not None
            pool, kind = self._admin if is_admin else self._unary, "unary"
            inner = handler.unary_unary
            make = grpc.stream_unary_rpc_method_handler
        observer = Observer(self._metrics, kind, method, inner, self._patience[pool])
        return make(
            _on_pool(observer.unary if kind == "unary" else observer.stream, pool),
            request_deserializer=careful_parser(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _guarded(self, handler: Handler) -> Handler:
        """A method of health or reflection."""
        if handler.stream_stream is not None:
            pool, make = self._reflection, grpc.stream_stream_rpc_method_handler
            behaviour = Guard(pool).stream(handler.stream_stream)
        elif handler.unary_unary is not None:
            pool, make = self._health, grpc.stream_unary_rpc_method_handler
            behaviour = Guard(pool).unary(handler.unary_unary)
        else:
            assert handler.unary_stream is not None  # Watch of health
            pool, make = self._health, grpc.stream_stream_rpc_method_handler
            behaviour = Guard(pool).watch(handler.unary_stream)
        on_pool = _on_pool(behaviour, pool)
        if handler.unary_stream is not None:
            setattr(on_pool, _SENDING_ATTRIBUTE, True)
        return make(
            on_pool,
            request_deserializer=careful_parser(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )


def _on_pool(behaviour: Callable[..., Any], pool: futures.ThreadPoolExecutor) -> Callable[..., Any]:
    """The same behaviour, run on a pool."""
    # grpcio reads the pool from an attribute of the behaviour; a partial can carry one.
    wrapped = functools.partial(behaviour)
    setattr(wrapped, _POOL_ATTRIBUTE, pool)
    return wrapped
