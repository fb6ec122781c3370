"""Health and reflection: methods that are not ours, on threads that no caller holds for long."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from kompakt_service.observing import refuse, sound, the_message
from kompakt_service.patience import Patience
from kompakt_service.pool import CURRENT, CallPool

_MAX_PENDING = 64


def side_pool(threads: int, name: str) -> CallPool:
    """Threads for one of the two; a caller that has none finds one."""
    return CallPool(
        threads,
        max_pending=_MAX_PENDING,
        max_wait_seconds=math.inf,
        share=True,
        name=name,
        on_idle=lambda: None,
    )


class Guard:
    """Stands around the behaviours of a pool's methods."""

    def __init__(self, pool: CallPool) -> None:
        self._patience = Patience(pool.is_crowded)

    def unary(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        """The behaviour of a method of one message, which may be waited for so long."""

        def serve(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            if CURRENT.refusal is not None:
                refuse(context, CURRENT.refusal)
            with self._patience.waiting(context):
                request = the_message(requests, context)
            return behaviour(request, context)

        return serve

    def stream(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        """The behaviour of a stream, which may be open for so long."""

        def serve(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            if CURRENT.refusal is not None:
                refuse(context, CURRENT.refusal)
            with self._patience.waiting(context):
                yield from behaviour(sound(requests, context), context)

        return serve

    def watch(self, behaviour: Callable[..., Any]) -> Callable[..., None]:
        """The behaviour of a method of one message that sends its answers at any time."""

        def serve(
            requests: Iterator[Any], context: grpc.ServicerContext, send: Callable[[Any], None]
        ) -> None:
            if CURRENT.refusal is not None:
                refuse(context, CURRENT.refusal)
            with self._patience.waiting(context):
                behaviour(the_message(requests, context), context, send)

        return serve
