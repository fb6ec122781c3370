"""The bookkeeping of a run, without a server: losses, refusals, deadlines, broken answers."""

import pytest
from google.rpc import code_pb2

from kompakt.v1 import compression_pb2 as pb
from kompakt_client import (
    DeadlineExceededError,
    Failure,
    InvalidRequestError,
    OverloadedError,
    RetryPolicy,
    ServerError,
    UnavailableError,
)
from kompakt_client._operations import compress, evaluate
from tests.client.run_server import BUSY, LOST, Server, sizes


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
