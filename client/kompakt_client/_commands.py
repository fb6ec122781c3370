"""The commands of a flow, and the parts that flows share.

A flow is a generator that decides what to do and does none of it: it yields
commands, and the client that drives it sends back what came of each, a value or
a `KompaktError`. So the calls are written once, and the sync and async clients
differ only in how they carry a command out. Streams are driven by `_many`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from google.protobuf.message import Message

from kompakt_client._errors import KompaktError
from kompakt_client._packing import Chunk, Item, Packer
from kompakt_client._retry import Retry, RetryPolicy

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pull:
    """Take the next input and prepare it: an `Item`, or `END`."""


@dataclass(frozen=True, slots=True)
class Call:
    """Make one attempt at a call: its response."""

    method: str
    request: Message
    timeout: float


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Return(Generic[T]):
    """The flow has ended with this value."""

    value: T


END: Final = None
"""What `Pull` brings when there are no more inputs."""

Command: TypeAlias = Pull | Call | Sleep
Flow: TypeAlias = Generator[Command, Any, T]


def step(flow: Flow[T], outcome: Any = None) -> Command | Return[T]:
    """Tell a flow what came of its last command and return the next one."""
    try:
        if isinstance(outcome, KompaktError):
            return flow.throw(outcome)
        return flow.send(outcome)
    except StopIteration as stop:
        return Return(stop.value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long an answer is waited for, and how often it is asked for."""

    timeout: float
    """Seconds for one answer, all attempts included."""
    retry: RetryPolicy

    def start(self, clock: Callable[[], float] = time.monotonic) -> Retry:
        """Begin the attempts of one call."""
        return Retry(self.retry, self.timeout, clock=clock)


def call(method: str, request: Message, patience: Patience) -> Flow[Any]:
    """Make one call, with retries."""
    retry = patience.start()
    while True:
        try:
            return (yield Call(method, request, retry.remaining()))
        except KompaktError as error:
            delay = retry.delay_after(error)
        yield Sleep(delay)


def fill(packer: Packer) -> Flow[Chunk | None]:
    """Take inputs until a chunk is complete; None if there are no more."""
    while True:
        item: Item | None = yield Pull()
        chunk = packer.take() if item is END else packer.add(item)
        if chunk is not None or item is END:
            return chunk
