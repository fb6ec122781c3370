"""A stream's messages, read ahead while earlier ones are worked on, in bounded memory."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from kompakt_service.errors import ServiceError
from kompakt_service.messages import too_many

_Message = TypeVar("_Message", bound=Message)

MAX_MESSAGES = 16
MAX_BYTES = 1 << 22
BURST_ITEMS = 64


class ReadAhead(Generic[_Message]):
    """Reads an iterator in a thread of its own, as far as what it holds stays within bounds.

    It holds 16 messages at most, and begins none while it holds 4 MiB or more. A server whose
    client reads no answers thus stops reading messages, and gRPC's flow control stops the client.
    """

    def __init__(self, messages: Iterable[_Message], num_items: Callable[[_Message], int]) -> None:
        self._messages = iter(messages)
        self._num_items = num_items
        self._held: deque[tuple[_Message, int]] = deque()
        self._bytes = 0
        self._ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def bursts(self) -> Iterator[list[_Message]]:
        """What has come, as soon as anything has: one message, or several small ones.

        Raises what reading raised, after the messages that came before.
        """
        with self._reading():
            while burst := self._take():
                yield burst
            if self._error is not None:
                raise self._error

    @contextmanager
    def _reading(self) -> Generator[None, Any, None]:
        thread = threading.Thread(target=self._read, name="read-ahead", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _take(self) -> list[_Message]:
        with self._changed:
            while not self._held and not self._ended:
                self._changed.wait()
            burst: list[_Message] = []
            items = 0
            while self._held:
                message, num_bytes = self._held[0]
                items += self._num_items(message)
                if burst and items > BURST_ITEMS:
                    break
                burst.append(message)
                self._held.popleft()
                self._bytes -= num_bytes
            self._changed.notify_all()
            return burst

    def _read(self) -> None:
        try:
            for message in self._messages:
                if not self._put(message):
                    return
        except BaseException as exc:  # it is raised where the messages are wanted
            self._error = exc
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _put(self, message: _Message) -> bool:
        """Hold a message, and wait for room for another; False if none is wanted."""
        num_bytes = message.ByteSize()
        with self._changed:
            self._held.append((message, num_bytes))
            self._bytes += num_bytes
            self._changed.notify_all()
            while not self._ended and (len(self._held) >= MAX_MESSAGES or self._bytes >= MAX_BYTES):
                self._changed.wait()
            return not self._ended


def bursts(
    requests: Iterable[Any], max_items: int, field: str
) -> Iterator[tuple[Any, list[Sequence[Any]], int]]:
    """The items of a stream's messages that have come, by message.

    With the stream's options, and the number of the first item in the whole stream. Messages
    without items are left out. Raises ServiceError for options anywhere but in the first message,
    and for too many items in one, after what came before.
    """
    options = None
    first = 0
    for burst in ReadAhead(requests, lambda request: len(getattr(request, field))).bursts():
        batches: list[Sequence[Any]] = []
        wrong: ServiceError | None = None
        for request in burst:
            wrong = _wrong(request, options is None, max_items, field)
            if wrong is not None:
                break
            options = options or request.options
            if items := getattr(request, field):
                batches.append(items)
        if batches:
            yield options, batches, first
        if wrong is not None:
            raise wrong
        first += sum(map(len, batches))


def _wrong(request: Any, is_first: bool, max_items: int, field: str) -> ServiceError | None:
    if request.HasField("options") is not is_first:
        return ServiceError(
            "INVALID_FIELD",
            "options must be set in the first message and in no other",
            field="options",
        )
    return too_many(len(getattr(request, field)), max_items, field)
