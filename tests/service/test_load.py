"""What the queue is expected to take."""

import pytest

from kompakt_service import load
from kompakt_service.load import Load, Pace


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(load, "time", clock)
    return clock


def test_the_pace_is_that_of_what_was_measured(clock):
    work = Load()
    assert work.seconds("a", 100) == 0.0
    for seconds in (10.0, 2.0):  # the first batch is a cold one
        begun = work.begin(0.0)
        clock.now += seconds
        work.end(begun, 0.0, "a", 100)

    assert work.seconds("a", 50) == pytest.approx(1.0)
    assert work.seconds("b", 50) == 0.0


def test_lanes_that_slow_each_other_down_share_the_time(clock):
    work = Load()
    for _ in range(2):
        first = work.begin(0.0)
        second = work.begin(0.0)
        clock.now += 2.0
        work.end(first, 0.0, "a", 100)
        clock.now += 1.0
        work.end(second, 0.0, "b", 100)

    assert work.seconds("a", 100) == pytest.approx(1.0)
    assert work.seconds("b", 100) == pytest.approx(2.0)


def test_a_caller_waits_for_its_own_and_for_its_turns():
    work = Load()
    work.begin(0.5)
    work.queue("bulk", 10.0)
    work.queue("bulk", 10.0)
    work.queue("other", 0.1)

    assert work.wait("bulk", 1.0) == pytest.approx(0.5 + 20.0 + 0.1)
    assert work.wait("single", 1.0) == pytest.approx(0.5 + 1.0 + 0.1)
    work.unqueue("bulk", 10.0)
    work.unqueue("bulk", 10.0)
    assert work.wait("single", 1.0) == pytest.approx(0.5 + 0.1)


def test_a_batch_that_was_held_up_does_not_count():
    pace = Pace()
    for seconds in (99.0, 1.0, 1.0, 30.0, 1.0):
        pace.tell(seconds, 10)
    assert pace.seconds_per_pixel == pytest.approx(0.1)


def test_large_batches_count_for_more():
    pace = Pace()
    for seconds, pixels in ((1.0, 1), (2.0, 10), (10.0, 100)):
        pace.tell(seconds, pixels)
    assert pace.seconds_per_pixel == pytest.approx(12 / 110)


def test_a_new_pace_is_soon_learnt():
    pace = Pace()
    for _ in range(50):
        pace.tell(1.0, 10)
    for _ in range(16):
        pace.tell(20.0, 10)
    assert pace.seconds_per_pixel == pytest.approx(2.0)
