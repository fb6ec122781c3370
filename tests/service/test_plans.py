import pytest

from kompakt.v1 import compression_pb2 as pb
from kompakt_service.errors import CallError
from kompakt_service.plans import CompressPlan, Plans
from kompakt_service.servicers import _together


def test_equal_options_have_one_plan():
    plans = Plans(CompressPlan.of)
    made = [plans.of(pb.CompressOptions(model="a", level=2)) for _ in range(2)]
    assert made[0] is made[1]


def test_options_of_any_length_are_read_and_long_ones_not_kept():
    plans = Plans(CompressPlan.of)
    long = pb.CompressOptions(model="a" * 10_000)
    assert plans.of(long).model == "a" * 10_000
    assert plans.of(long) is not plans.of(long)


def test_messages_whose_answers_are_too_large_together_are_answered_one_by_one():
    calls, timings = [], []

    class Context:
        time_remaining = staticmethod(lambda: 10.0)
        is_active = staticmethod(lambda: True)

    def work(items, call):
        calls.append(len(items))
        timings.append(call.timings)
        if len(items) > 3:
            raise CallError("TOO_MANY_IMAGES", "too large")
        return [item * 10 for item in items]

    assert list(_together(work, [[1, 2], [3], [4, 5]], Context)) == [[10, 20], [30], [40, 50]]
    assert calls == [5, 2, 1, 2]
    assert len(set(map(id, timings))) == 4  # each has times of its own
    assert list(_together(work, [[1], [2]], Context)) == [[10], [20]]
    with pytest.raises(CallError):
        list(_together(work, [[1, 2, 3, 4]], Context))
