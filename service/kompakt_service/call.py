"""What the work below the transport needs to know of a call: its deadline and its caller."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import grpc

from kompakt_codec.errors import CodecError
from kompakt_service.errors import CallError, ItemError, ServiceError, bare
from kompakt_service.pool import CURRENT

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")

CLOCK_TOLERANCE_SECONDS = 0.02
"""A caller cancels at its own deadline, that much ahead of this clock at most."""
_LOOK_SECONDS = 0.001
"""A caller that leaves is noticed that late: asking gRPC takes a lock."""
_NEVER_SECONDS = 1e8
"""gRPC's time to a deadline that was not set is longer."""


@dataclass(slots=True)
class Timings:
    """Seconds that a call spent in each stage."""

    image: float = 0.0
    queue: float = 0.0
    transform: float = 0.0
    entropy: float = 0.0

    def add(self, other: "Timings") -> None:
        """Add another's times to these."""
        self.image += other.image
        self.queue += other.queue
        self.transform += other.transform
        self.entropy += other.entropy


@dataclass(slots=True, eq=False)
class Call:
    """One RPC, as the work below the transport sees it."""

    deadline: float
    """On time.monotonic's clock; infinite if the caller set none."""
    is_wanted: Callable[[], bool]
    caller: str = ""
    """Who shares a turn: see ``pool``."""
    timings: Timings = field(default_factory=Timings)
    looked: float = -math.inf

    @classmethod
    def of(cls, context: grpc.ServicerContext) -> "Call":
        """The call of a servicer's context, in the thread of its pool."""
        remaining = context.time_remaining()
        never = remaining > _NEVER_SECONDS
        deadline = math.inf if never else time.monotonic() + remaining
        return cls(deadline, context.is_active, CURRENT.caller)

    def over(self) -> CallError | None:
        """Why the work is not worth going on with; None if it is."""
        now = time.monotonic()
        is_late = now > self.deadline
        if not is_late and now - self.looked > _LOOK_SECONDS:
            if not self.is_wanted():
                is_late = now > self.deadline - CLOCK_TOLERANCE_SECONDS
                if not is_late:
                    return CallError("CANCELLED", "the caller went away")
            self.looked = now
        if is_late:
            return CallError("DEADLINE_EXCEEDED", "the deadline passed before the work was done")
        return None

    def check(self) -> None:
        """Raise CallError if the work is not worth going on with."""
        error = self.over()
        if error is not None:
            raise error


def attempt(
    function: Callable[[_Item], _Value], items: Iterable[_Item], call: Call
) -> list[_Value | ItemError]:
    """Apply a function to each item; one that fails gives its error.

    Raises CallError as soon as the call as a whole cannot go on.
    """
    results: list[_Value | ItemError] = []
    for item in items:
        call.check()
        try:
            results.append(function(item))
        except CallError:
            raise
        except (CodecError, ServiceError) as exc:
            results.append(bare(exc))
    return results
