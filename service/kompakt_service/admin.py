"""Who may change the models, and the threads that do it."""

import math
import urllib.parse
from collections.abc import Callable
from concurrent import futures
from typing import Any, Literal

from kompakt_service.errors import CallError
from kompakt_service.pool import CallPool, refused

Allowed = Literal["off", "local", "any"]
"""Nobody, callers on this machine, every caller."""

_MAX_PENDING = 16
_LOCAL_PEERS = ("ipv4:127.", "ipv6:[::1]:", "ipv6:[::ffff:127.", "unix:")


class AdminPool(CallPool):
    """The threads of calls that change the models: few, since a change waits for the last one.

    Whoever may change nothing is told so at once, whatever waits.
    """

    def __init__(self, allowed: Allowed, *, on_idle: Callable[[], None]) -> None:
        super().__init__(
            1,
            max_pending=_MAX_PENDING,
            max_wait_seconds=math.inf,
            share=True,
            name="admin",
            on_idle=on_idle,
        )
        self._allowed = allowed

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_: Any) -> futures.Future[Any]:
        """Run a call in its turn, or refuse it at once; see ``CallPool``."""
        refusal = self._forbidden(_peer_of(args))
        return super().submit(fn, *args) if refusal is None else refused(fn, args, refusal)

    def _forbidden(self, peer: str) -> CallError | None:
        if self._allowed == "off":
            return CallError(
                "ADMIN_REFUSED",
                "this server does not let its models be changed: start it with --admin local",
            )
        if self._allowed == "local" and not is_local(peer):
            return CallError(
                "ADMIN_REFUSED",
                "this server's models can be changed from its own machine only (--admin local)",
            )
        return None


def _peer_of(args: tuple[Any, ...]) -> str:
    """The peer of the call that grpcio submits; '' is nobody's."""
    for event in args:
        if hasattr(event, "invocation_metadata"):
            return str(event.call.peer().decode(errors="replace"))
    return ""


def is_local(peer: str) -> bool:
    """Whether a peer, as gRPC writes it, is on this machine."""
    return urllib.parse.unquote(peer).startswith(_LOCAL_PEERS)
