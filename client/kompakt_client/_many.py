"""Many items over streams: what is sent when, and what becomes of each.

Nothing here waits: the clients bring inputs and what comes of the streams, and take
results. So one logic serves both, and tests drive it without a server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from kompakt_client._commands import Patience
from kompakt_client._errors import KompaktError, MessageTooLargeError
from kompakt_client._lane import WINDOW, Lane, Opener, Sender
from kompakt_client._ledger import Ledger
from kompakt_client._operations import Operation
from kompakt_client._packing import Chunk, Item, Packer
from kompakt_client._results import Failure
from kompakt_client._retry import Retry
from kompakt_client._status import broken_answer, deadline_error

R = TypeVar("R")


class Run(Generic[R]):
    """The state of one run of items.

    Invariant: every item that was added is in exactly one place: gathered in the
    packer, in the backlog, sent on one lane and not answered, or in the ledger with
    its result. What is lost with a stream goes back to the backlog, and whatever a
    stream that was given up still brings is not looked at. So no item is lost, and
    none is doubled.
    """

    def __init__(
        self,
        operation: Operation[R],
        patience: Patience,
        target: str,
        open_link: Opener,
        *,
        connections: int = 1,
        ordered: bool = True,
    ) -> None:
        self.waited = 0.0
        """The clock of this run: the seconds spent waiting for the server, so that a slow
        source or consumer passes no deadline."""
        self.summary: Any = None
        """The message with which a stream that pools ended."""
        self._operation = operation
        self._patience = patience
        self._target = target
        self._lanes = [
            Lane(number, operation, open_link, self._start, lambda: self.waited)
            for number in range(connections)
        ]
        self._ledger: Ledger[R | Failure] = Ledger(
            operation.stream_limits, connections * WINDOW, ordered=ordered
        )
        self._packer = Packer(operation.stream_limits)
        self._backlog: deque[Chunk] = deque()
        self._ending: dict[Sender, Retry] = {}
        """Streams that were told that no more comes, and how long their end is waited for."""
        self._inputs_ended = False
        self._broken: BaseException | None = None
        """What the inputs' source raised."""
        self._answered = False

    @property
    def has_result(self) -> bool:
        """Whether a result can be handed out."""
        return bool(self._ledger.ready)

    @property
    def wants_input(self) -> bool:
        """Whether another item may be added."""
        return not self._inputs_ended and self._ledger.has_room

    @property
    def done(self) -> bool:
        """Whether all results are handed out and all streams have ended."""
        return self._inputs_ended and self._ledger.is_empty and not self._ending

    def add(self, item: Item | None) -> None:
        """Take the next item; None says that there are no more."""
        if item is None:
            self._inputs_ended = True
            chunk = self._packer.take()
        else:
            self._ledger.add(item)
            chunk = self._packer.add(item)
        if chunk is not None:
            self._backlog.append(chunk)
        self._advance()

    def break_off(self, error: BaseException) -> None:
        """Take what the inputs' source raised in place of an item: no more come.

        It is for `end` to raise; where the results are of use only together, it is raised now.
        """
        if self._operation.pools:
            raise error
        self._broken = error
        self.add(None)

    def end(self) -> None:
        """Raise what the inputs' source raised, now that all results are handed out."""
        if self._broken is not None:
            raise self._broken

    def pop(self) -> R | Failure:
        """Hand out a result."""
        return self._ledger.pop()

    def handle(self, link: Sender, outcome: Message | KompaktError | None) -> None:
        """Take what came of a stream. Raises the KompaktError that ends the run."""
        lane = next((lane for lane in self._lanes if lane.link is link), None)
        if lane is None:
            self._part(link, outcome)
        elif isinstance(outcome, Message):
            self._answer(lane, outcome)
        elif lane.sent or self._operation.pools:
            early = broken_answer("the stream ended before its last item was answered")
            self._fail(lane, outcome or early)
        else:
            lane.surrender()
        self._advance()

    def timeout(self) -> float | None:
        """Return the seconds after which `tick` is due; None if nothing is waited for."""
        times = [wake - self.waited for _, wake in self._paused()]
        times += [retry.remaining() for retry in (*self._due_answers(), *self._ending.values())]
        return max(0.0, min(times)) if times else None

    def tick(self) -> None:
        """Do what is due by the clock. Raises the KompaktError of an answer that is late."""
        for retry in self._due_answers():
            if retry.remaining() <= 0:
                retry.delay_after(deadline_error(self._target))
        for link, retry in list(self._ending.items()):
            if retry.remaining() <= 0:
                link.close()
                self._part(link, deadline_error(self._target))
        woken = [lane for lane, wake in self._paused() if wake <= self.waited]
        for lane in woken:
            lane.wake = None
        self._advance()
        for lane in woken:
            if not lane.sent:
                lane.retry = None

    def spend(self, seconds: float) -> None:
        """Let time pass in which the server was not waited for: it ends pauses alone."""
        paused = [(lane, lane.wake) for lane in self._lanes if lane.wake is not None]
        for lane, wake in paused:
            lane.wake = wake - seconds
        if paused:
            self.tick()

    def close(self) -> None:
        """Give up all streams."""
        for link in (*(lane.link for lane in self._lanes), *self._ending):
            if link is not None:
                link.close()

    def _start(self) -> Retry:
        return self._patience.start(lambda: self.waited)

    def _paused(self) -> Iterator[tuple[Lane, float]]:
        """The lanes that pause, and until when; not before all that they sent is answered."""
        lanes = (lane for lane in self._lanes if not lane.sent)
        return ((lane, lane.wake) for lane in lanes if lane.wake is not None)

    def _due_answers(self) -> Iterator[Retry]:
        return (lane.retry for lane in self._lanes if lane.sent and lane.retry)

    def _advance(self) -> None:
        """Send what can be sent: full messages, or what there is where nothing is under way.

        So the first message is small, messages grow while others are under way, and no
        item waits for others while a lane has nothing to do.
        """
        while options := self._backlog[0].options if self._backlog else self._packer.options:
            free = [lane for lane in self._lanes if lane.accepts(options, idle=not self._backlog)]
            if not free:
                return
            lane = min(free, key=lambda lane: len(lane.sent))
            lane.retry = lane.retry or self._start()
            wait = self._answered and lane.retry.failed
            if ended := lane.send(self._take(), wait=wait):
                self._ending[ended] = self._start()
        if self._inputs_ended and not self._backlog:
            for lane in self._lanes:
                if lane.link and not lane.sent:
                    self._ending[lane.end()] = self._start()

    def _take(self) -> Chunk:
        """Return the next chunk, no larger than the server is known to take."""
        chunk = self._backlog.popleft() if self._backlog else self._packer.take()
        assert chunk is not None
        if len(chunk) > self._packer.limits.max_items:
            chunk, rest = chunk.split(self._packer.limits.max_items)
            self._backlog.appendleft(rest)
        return chunk

    def _part(self, link: Sender, outcome: Message | KompaktError | None) -> None:
        """Take what an ending stream brings; only one that pools has more to say."""
        if link not in self._ending:
            return
        if isinstance(outcome, Message):
            self.summary = outcome
            return
        del self._ending[link]
        if self._operation.pools and isinstance(outcome, KompaktError):
            raise outcome

    def _answer(self, lane: Lane, response: Any) -> None:
        first = response.results[0].index if response.results else -1
        chunk = lane.sent.pop(first, None)
        if chunk is None:
            raise broken_answer(f"results from item {first}, where none are due")
        results = self._operation.results(response, chunk)
        refused = {
            n: result.error
            for n, result in enumerate(results)
            if isinstance(result, Failure) and result.error.retryable
        }
        self._answered = True
        lane.window = WINDOW
        if len(refused) < len(results):
            lane.retry = self._start() if lane.sent or refused else None
        if refused and lane.put_off([*refused.values()]):
            self._backlog.appendleft(chunk.pick(refused))
            results = [result for n, result in enumerate(results) if n not in refused]
        for result in results:
            self._ledger.finish(result)

    def _fail(self, lane: Lane, error: KompaktError) -> None:
        """Have what was lost with a stream sent again, or raise the error.

        The next stream begins with a single message under way, so that an error which
        comes of a message is known to come of that one.
        """
        if self._operation.pools and self._answered:
            raise error
        assert lane.retry is not None
        chunks = lane.surrender()
        lane.window = 1
        if not needs_smaller(error):
            others = (other for other in self._lanes if other is not lane)
            lane.pause(error, others_get_on=self._answered and any(o.gets_on for o in others))
        elif len(chunks) == 1:
            lane.retry = None
            chunks = self._shrink(chunks[0], error)
        self._backlog.extendleft(reversed(chunks))

    def _shrink(self, chunk: Chunk, error: KompaktError) -> list[Chunk]:
        """Return the halves of a chunk that was too large; one item alone fails."""
        too_heavy = isinstance(error, MessageTooLargeError)
        if len(chunk) > 1:
            if not too_heavy:
                self._packer.limits = self._packer.limits.halved()
            return list(chunk.split(len(chunk) // 2))
        if self._operation.pools:
            raise error
        self._ledger.finish(Failure(index=chunk.indices[0], error=error))
        return []


def needs_smaller(error: KompaktError) -> bool:
    """Tell whether the same items may pass in smaller messages."""
    return isinstance(error, MessageTooLargeError) or error.reason == "TOO_MANY_IMAGES"
