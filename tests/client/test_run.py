"""The bookkeeping of a run, without a server: every item once, whatever fails."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from kompakt_client._lane import WINDOW
from kompakt_client._operations import compress
from kompakt_client._packing import Limits
from tests.client.run_server import LOST, TOO_LARGE, Server, sizes


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


def test_an_idle_run_waits_for_nothing():
    server = Server()
    server.feed(1)
    server.answer()

    assert server.run.timeout() is None
