"""What the work below the transport needs to know of a call: its deadline and its caller."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import grpc

from kompakt_codec.errors import CodecError
from kompakt_service.errors import CallError, ItemError, ServiceError

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")


@dataclass(slots=True)
class Timings:
    """Seconds that a call spent in each stage."""

    image: float = 0.0
    queue: float = 0.0
    transform: float = 0.0
    entropy: float = 0.0

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, stage, getattr(self, stage) + time.perf_counter() - started)

    def add(self, other: "Timings") -> None:
        """Add another's times to these."""
        for stage in STAGES:
            setattr(self, stage, getattr(self, stage) + getattr(other, stage))


STAGES = ("image", "queue", "transform", "entropy")


@dataclass(slots=True)
class Call:
    """One RPC, as the work below the transport sees it."""

    deadline: float
    """On time.monotonic's clock; infinite if the caller set none."""
    is_wanted: Callable[[], bool]
    timings: Timings = field(default_factory=Timings)

    @classmethod
    def of(cls, context: grpc.ServicerContext) -> "Call":
        """The call of a servicer's context."""
        remaining: float | None = context.time_remaining()
        deadline = math.inf if remaining is None else time.monotonic() + remaining
        return cls(deadline, context.is_active)

    def check(self) -> None:
        """Raise CallError if the work is not worth going on with."""
        if not self.is_wanted():
            raise CallError("CANCELLED", "the caller went away")
        if time.monotonic() > self.deadline:
            raise CallError("DEADLINE_EXCEEDED", "the deadline passed before the work was done")


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
            results.append(exc)
    return results
