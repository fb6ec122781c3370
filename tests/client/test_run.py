"""The bookkeeping of a run, without a server: every item once, whatever fails."""

from collections import deque
from dataclasses import dataclass, field, replace

import pytest
from google.rpc import code_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from kompakt.v1 import compression_pb2 as pb
from kompakt_client import (
    DeadlineExceededError,
    Failure,
    InvalidRequestError,
    MessageTooLargeError,
    OverloadedError,
    RetryPolicy,
    ServerError,
    UnavailableError,
)
from kompakt_client._commands import Patience
from kompakt_client._lane import WINDOW
from kompakt_client._many import Run
from kompakt_client._operations import compress, evaluate
from kompakt_client._packing import Limits
from tests.client.fake_codec import make_status

STUBBORN = RetryPolicy(max_attempts=1000, initial_backoff=0.01, max_backoff=0.01)
LOST = UnavailableError("lost", code="UNAVAILABLE")
TOO_LARGE = MessageTooLargeError("large", code="RESOURCE_EXHAUSTED")


@dataclass(eq=False)
class Stream:
    """A stream of a server that answers when it is told to."""

    wait: bool
    unanswered: deque = field(default_factory=deque)
    num_items: int = 0
    ended: bool = False
    closed: bool = False

    def send(self, message):
        assert not self.ended
        if message is None:
            self.ended = True
            return
        self.unanswered.append((self.num_items, list(message.images)))
        self.num_items += len(message.images)

    def close(self):
        self.closed = True

    def answer(self, refuse=lambda _: False, pick=0):
        """Answer the message that was sent first, or another; an image's pixels are its stream."""
        first, images = self.unanswered[pick]
        del self.unanswered[pick]
        results = [
            pb.CompressResult(index=number, status=make_status(8, "busy", retry_after=0.01))
            if refuse(image)
            else pb.CompressResult(index=number, stream=pb.CompressedImage(data=image.encoded))
            for number, image in enumerate(images, first)
        ]
        return pb.StreamCompressResponse(results=results)


class Server:
    """The streams that a run opens, and what it handed out."""

    def __init__(self, operation=None, timeout=10.0, retry=STUBBORN, **settings):
        self.streams = []
        self.operation = operation or compress()
        self.results = []
        patience = Patience(timeout=timeout, retry=retry)
        self.run = Run(self.operation, patience, "server", self._open, **settings)

    def _open(self, number, method, message, wait):
        assert (number, method) in [(n, f"Stream{self.operation.method}") for n in range(3)]
        stream = Stream(wait)
        stream.send(message)
        self.streams.append(stream)
        return stream

    @property
    def open(self):
        return [stream for stream in self.streams if not stream.closed]

    @property
    def busy(self):
        return [stream for stream in self.open if stream.unanswered]

    def feed(self, count, start=0):
        for number in range(start, start + count):
            self.run.add(self.operation.prepare(str(number).encode()))

    def answer(self, stream=None, **how):
        stream = stream or self.busy[0]
        self.run.handle(stream, stream.answer(**how))
        self.take()

    def take(self):
        while self.run.has_result:
            self.results.append(self.run.pop())

    def pass_time(self, seconds):
        self.run.waited += seconds
        self.run.tick()

    def end_streams(self):
        for stream in self.open:
            if stream.ended and not stream.unanswered:
                stream.closed = True
                self.run.handle(stream, None)


def sizes(stream):
    return [len(images) for _, images in stream.unanswered]


@settings(deadline=None, max_examples=50)
@given(data=st.data(), num_items=st.integers(0, 40), connections=st.integers(1, 3))
def test_every_item_is_answered_once_whatever_fails(data, num_items, connections):
    ordered = data.draw(st.booleans())
    operation = replace(compress(), stream_limits=Limits(max_items=4, max_bytes=1 << 20))
    server = Server(operation, connections=connections, ordered=ordered)
    run, fed, stale, faults = server.run, 0, [], 0

    while not run.done:
        kinds = ["feed"] * (fed < num_items and run.wants_input)
        kinds += ["end"] * (fed == num_items and run.wants_input)
        kinds += ["answer", "cut", "refuse", "too large"] if server.busy else []
        kinds += ["stale"] if stale else []
        if faults > 30 or not kinds:
            kinds = [k for k in kinds if k in ("feed", "end", "answer")] or ["time"]
        match data.draw(st.sampled_from(kinds)):
            case "feed":
                count = data.draw(st.integers(1, min(20, num_items - fed)))
                while count and run.wants_input:
                    server.feed(1, start=fed)
                    fed, count = fed + 1, count - 1
            case "end":
                run.add(None)
            case "answer":
                stream = data.draw(st.sampled_from(server.busy))
                server.answer(stream, pick=data.draw(st.integers(0, len(stream.unanswered) - 1)))
            case "refuse":
                faults += 1
                server.answer(refuse=lambda image: int(image.encoded) % 3 == 0)
            case "cut" | "too large" as kind:
                faults += 1
                stream = data.draw(st.sampled_from(server.busy))
                too_large = kind == "too large" and max(sizes(stream)) > 1
                stale.append(stream)
                run.handle(stream, TOO_LARGE if too_large else LOST)
            case "stale":
                stream = stale.pop()
                run.handle(stream, stream.answer())
            case "time":
                server.pass_time(run.timeout() or 0.0)
        server.take()
        server.end_streams()

    if not ordered:
        server.results.sort(key=lambda result: result.index)
    assert [result.index for result in server.results] == list(range(num_items))
    assert [int(result.data) for result in server.results] == list(range(num_items))
    assert all(stream.closed for stream in server.streams)


def test_messages_grow_while_others_are_under_way():
    server = Server()

    server.feed(150)

    assert sizes(server.streams[0]) == [1, 64, 64]
    server.answer()
    assert sizes(server.streams[0]) == [64, 64]
    server.answer()
    server.answer()
    assert sizes(server.streams[0]) == [21]


def test_each_connection_begins_with_a_small_message():
    server = Server(connections=3)

    server.feed(3 + 2 * 64)

    assert [sizes(stream) for stream in server.streams] == [[1, 64], [1, 64], [1]]


def test_no_more_than_a_window_is_read_ahead_and_under_way():
    server = Server()

    fed = 0
    while server.run.wants_input:
        server.feed(1, start=fed)
        fed += 1

    assert fed == WINDOW * 64
    assert len(server.streams[0].unanswered) == WINDOW
    server.run.handle(server.streams[0], server.streams[0].answer())
    assert not server.run.wants_input
    server.take()
    assert server.run.wants_input


def test_a_large_image_takes_the_place_of_a_message():
    server = Server()
    large = server.operation.prepare(bytes(2 << 20))

    for _ in range(WINDOW):
        assert server.run.wants_input
        server.run.add(large)

    assert not server.run.wants_input
    assert sizes(server.streams[0]) == [1] * WINDOW


def test_results_that_come_early_are_held_back_only_if_they_are_to_be_in_order():
    for ordered, expected in ((True, []), (False, [1])):
        server = Server(connections=2, ordered=ordered)
        server.feed(2)

        server.answer(server.streams[1])

        assert [result.index for result in server.results] == expected
        server.answer(server.streams[0])
        assert {result.index for result in server.results} == {0, 1}


def test_a_stream_after_a_loss_begins_with_one_message():
    server = Server()
    server.feed(150)

    server.run.handle(server.streams[0], LOST)
    assert len(server.streams) == 1
    server.pass_time(0.01)

    assert server.streams[0].closed
    assert sizes(server.streams[1]) == [1]
    server.answer()
    assert sizes(server.streams[1]) == [64, 64]
    server.answer()
    server.answer()


def test_only_a_server_that_has_answered_is_waited_for():
    server = Server()
    server.feed(2)
    server.run.handle(server.streams[0], LOST)
    server.pass_time(0.01)
    server.answer()
    server.run.handle(server.streams[1], LOST)
    server.pass_time(0.01)

    assert [stream.wait for stream in server.streams] == [False, False, True]


def test_another_connection_takes_over_what_was_lost():
    server = Server(connections=2)
    server.feed(2)

    server.run.handle(server.streams[0], LOST)
    server.answer(server.streams[1])

    assert server.busy == [server.streams[1]]
    server.answer()
    assert [result.index for result in server.results] == [0, 1]


BUSY = OverloadedError("busy", code="RESOURCE_EXHAUSTED", retry_after=0.5)


def test_a_connection_for_which_a_server_has_no_place_leaves_the_work_to_others():
    server = Server(connections=2, retry=RetryPolicy(max_attempts=3))
    server.feed(1)
    server.answer()
    served = server.streams[0]
    server.feed(600, start=1)
    server.run.add(None)

    refused = 0
    while served.unanswered:
        while others := [stream for stream in server.busy if stream is not served]:
            server.run.handle(others[0], BUSY)
            refused += 1
        server.answer(served)
        server.pass_time(0.6)

    assert refused > 3
    assert [result.data for result in server.results] == [b"%d" % n for n in range(601)]


def test_a_server_that_has_no_place_for_any_connection_ends_the_run():
    server = Server(connections=2, retry=RetryPolicy(max_attempts=3, initial_backoff=0.0))
    server.feed(1)
    server.answer()
    server.feed(100, start=1)

    def refuse_all():
        for _ in range(8):
            while server.busy:
                server.run.handle(server.busy[0], BUSY)
            server.pass_time(0.6)

    with pytest.raises(OverloadedError):
        refuse_all()


def test_an_answer_gives_the_next_its_own_attempts():
    server = Server(retry=RetryPolicy(max_attempts=2, initial_backoff=0.01, max_backoff=0.01))
    server.feed(2)

    for _ in range(2):
        server.run.handle(server.busy[0], LOST)
        server.pass_time(0.01)
        server.answer()
    server.feed(1, start=2)
    server.run.handle(server.busy[0], LOST)
    server.pass_time(0.01)

    with pytest.raises(UnavailableError, match="lost"):
        server.run.handle(server.busy[0], LOST)


def test_only_time_spent_waiting_passes_the_deadline():
    server = Server(timeout=1.0)
    server.feed(1)

    assert server.run.timeout() == 1.0
    server.pass_time(0.9)
    with pytest.raises(DeadlineExceededError):
        server.pass_time(0.2)


def test_time_spent_elsewhere_passes_no_deadline_but_ends_a_pause():
    server = Server(timeout=1.0)
    server.feed(1)
    server.run.spend(9.0)
    server.run.handle(server.streams[0], LOST)
    assert len(server.streams) == 1

    server.run.spend(9.0)

    assert sizes(server.streams[1]) == [1]
    assert server.run.timeout() == 1.0


def test_an_idle_run_waits_for_nothing():
    server = Server()
    server.feed(1)
    server.answer()

    assert server.run.timeout() is None


def test_a_stream_that_is_lost_while_idle_is_opened_again_without_ado():
    server = Server(retry=RetryPolicy(max_attempts=1))
    server.feed(1)
    server.answer()

    server.run.handle(server.streams[0], LOST)
    server.feed(1, start=1)
    server.answer()

    assert len(server.streams) == 2
    assert [result.index for result in server.results] == [0, 1]


def test_items_that_a_busy_server_refuses_fail_when_patience_ends():
    server = Server(retry=RetryPolicy(max_attempts=2, initial_backoff=0.01, max_backoff=0.01))
    server.feed(1)

    server.answer(refuse=lambda _: True)
    assert server.run.timeout() >= 0.01
    server.pass_time(0.05)
    server.answer(refuse=lambda _: True)

    [failure] = server.results
    assert isinstance(failure, Failure)
    assert (failure.index, failure.error.code) == (0, code_pb2.Code.Name(8))


def test_messages_that_are_refused_together_count_as_one_attempt():
    server = Server(retry=RetryPolicy(max_attempts=2, initial_backoff=0.01, max_backoff=0.01))
    server.feed(1 + 2 * 64)

    for _ in range(3):
        server.answer(refuse=lambda _: True)
        server.run.tick()
    server.pass_time(0.05)
    for _ in range(3):
        server.answer()

    assert [int(result.data) for result in server.results] == list(range(1 + 2 * 64))


def test_a_pause_lasts_until_all_that_was_under_way_is_answered():
    server = Server(retry=RetryPolicy(max_attempts=2, initial_backoff=0.01, max_backoff=0.01))
    server.feed(1 + 64)

    server.answer(refuse=lambda _: True)
    server.pass_time(0.05)
    assert server.run.timeout() > 1.0
    server.answer(refuse=lambda _: True)
    server.pass_time(0.05)
    server.answer()
    server.answer()

    assert [int(result.data) for result in server.results] == list(range(1 + 64))


def test_what_comes_after_items_that_patience_ended_for_has_its_own():
    server = Server(timeout=1.0, retry=RetryPolicy(max_attempts=1))
    server.feed(1 + 64)

    server.pass_time(0.9)
    server.answer(refuse=lambda _: True)
    server.pass_time(0.9)
    server.answer()

    assert [isinstance(result, Failure) for result in server.results] == [True] + [False] * 64


def test_results_that_are_not_due_break_the_contract():
    server = Server()
    server.feed(1)
    answer = server.streams[0].answer()
    answer.results[0].index = 7

    with pytest.raises(ServerError, match="results from item 7, where none are due"):
        server.run.handle(server.streams[0], answer)


@pytest.mark.parametrize(
    "fields",
    [
        {"latents": pb.Tensor(shape=[1], data_type=99, data=b"1")},
        {"reconstruction": pb.RawImage(height=2, width=2, channels=3, data=b"1")},
    ],
)
def test_results_that_cannot_be_read_break_the_contract(fields):
    server = Server()
    server.feed(1)
    answer = server.streams[0].answer()
    answer.results[0].MergeFrom(pb.CompressResult(**fields))

    with pytest.raises(ServerError, match="breaks the contract: the result of item 0 cannot be"):
        server.run.handle(server.streams[0], answer)


def test_a_farewell_that_does_not_come_is_not_waited_for_longer():
    server = Server(timeout=1.0)
    server.feed(1)
    server.run.add(None)
    server.answer()
    assert server.streams[0].ended

    server.pass_time(1.0)

    assert server.run.done
    assert server.streams[0].closed


def test_one_item_that_is_too_many_fails_unless_the_server_pools():
    too_many = InvalidRequestError("too many", reason="TOO_MANY_IMAGES")
    for operation in (compress(), evaluate()):
        server = Server(operation)
        server.feed(1)
        if operation.pools:
            with pytest.raises(InvalidRequestError, match="too many"):
                server.run.handle(server.streams[0], too_many)
            continue
        server.run.handle(server.streams[0], too_many)
        server.take()
        assert [(failure.index, failure.error) for failure in server.results] == [(0, too_many)]


def test_what_is_pooled_is_not_begun_again_after_its_first_answer():
    server = Server(evaluate())
    server.feed(1)
    answer = pb.StreamEvaluateResponse(results=[pb.EvaluateResult(index=0)])
    server.run.handle(server.streams[0], answer)

    with pytest.raises(UnavailableError):
        server.run.handle(server.streams[0], LOST)
