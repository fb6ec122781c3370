"""Flat combining, with stubs in the codec's place."""

import random
import threading
import time
from collections import Counter

import pytest

from kompakt_codec.interruption import check_interruption
from kompakt_service.call import Call
from kompakt_service.errors import CallError
from kompakt_service.lanes import Job, Lanes
from kompakt_service.load import Pace
from kompakt_service.metrics import Metrics


def make_lanes(num_lanes: int = 1, **settings: float) -> Lanes:
    defaults = {"max_batch_images": 64, "max_batch_pixels": 10**6, "max_queue_seconds": 10.0}
    return Lanes(num_lanes, metrics=Metrics(), **(defaults | settings))


def make_call(caller: str = "", *, deadline: float = float("inf"), wanted: bool = True) -> Call:
    return Call(deadline, lambda: wanted, caller)


class Stub:
    """Doubles numbers; remembers its batches; stops in them while it is held."""

    def __init__(self) -> None:
        self.series = Metrics().operation("compress", "stub")
        self.batches: list[list[int]] = []
        self.threads: list[int] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def run(self, items, _):
        self.batches.append(list(items))
        self.threads.append(threading.get_ident())
        self.entered.set()
        assert self.gate.wait(30)
        if "bad" in items:
            raise ValueError("a bad item")
        return [2 * item for item in items]

    def job(self, *items, call: Call | None = None, key: object = "key", pixels: int = 1) -> Job:
        return Job(call or make_call(), self.series, key, self.run, items, pixels)


class Held:
    """A lane that is busy with one job, and what is then brought to it, in order."""

    def __init__(self, lanes: Lanes, stub: Stub) -> None:
        self._lanes = lanes
        self._stub = stub
        self.results: dict[object, object] = {}
        self._threads: list[threading.Thread] = []
        stub.gate.clear()
        self._start(stub.job(0))
        assert stub.entered.wait(10)

    def bring(self, job: Job) -> None:
        inside = self._num_inside()
        self._start(job)
        while self._num_inside() == inside:
            time.sleep(0.001)

    def _num_inside(self) -> int:
        with self._lanes._lock:
            return self._lanes._inside

    def _start(self, job: Job) -> None:
        def run() -> None:
            try:
                self.results[job.items] = self._lanes.run(job)
            except Exception as exc:
                self.results[job.items] = exc

        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()

    def release(self) -> None:
        self._stub.gate.set()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


def test_a_lone_job_is_done_in_its_own_thread():
    stub = Stub()

    assert make_lanes().run(stub.job(1, 2)) == [2, 4]

    assert stub.threads == [threading.get_ident()]


def test_what_waits_makes_a_batch_of_one_key():
    lanes, stub = make_lanes(), Stub()
    held = Held(lanes, stub)
    for number in (1, 2, 3):
        held.bring(stub.job(number))
        held.bring(stub.job(10 * number, key="other"))
    held.release()

    assert stub.batches == [[0], [1, 2, 3], [10, 20, 30]]
    assert held.results == {(n,): [2 * n] for n in (0, 1, 2, 3, 10, 20, 30)}


def test_the_lead_is_handed_over_after_a_batch():
    lanes, stub = make_lanes(max_batch_images=2), Stub()
    held = Held(lanes, stub)
    for number in range(1, 7):
        held.bring(stub.job(number))
    held.release()

    assert stub.batches == [[0], [1, 2], [3, 4], [5, 6]]
    assert len(set(stub.threads)) == 4


def test_batches_are_bounded_by_images_and_pixels():
    lanes, stub = make_lanes(max_batch_images=3, max_batch_pixels=100), Stub()
    held = Held(lanes, stub)
    for number, pixels in ((1, 60), (2, 60), (3, 10), (4, 10), (5, 10), (6, 1000)):
        held.bring(stub.job(number, pixels=pixels))
    held.release()

    assert stub.batches == [[0], [1], [2, 3, 4], [5], [6]]


def test_callers_take_turns_within_and_across_batches():
    lanes, stub = make_lanes(max_batch_images=4), Stub()
    held = Held(lanes, stub)
    for number in range(1, 9):
        held.bring(stub.job(number, call=make_call("bulk")))
    held.bring(stub.job(100, call=make_call("single")))
    held.bring(stub.job(200, call=make_call("another"), key="other"))
    held.release()

    assert stub.batches == [[0], [1, 100, 2, 3], [200], [4, 5, 6, 7], [8]]


def test_a_bad_item_fails_its_own_job_alone():
    lanes, stub = make_lanes(), Stub()
    held = Held(lanes, stub)
    for item in (1, "bad", 2):
        held.bring(stub.job(item))
    held.release()

    assert held.results[(1,)] == [2]
    assert held.results[(2,)] == [4]
    assert isinstance(held.results[("bad",)], ValueError)
    assert stub.batches == [[0], [1, "bad", 2], [1], ["bad"], [2]]


def test_cancelled_and_expired_jobs_are_dropped_before_they_are_computed():
    lanes, stub = make_lanes(), Stub()
    held = Held(lanes, stub)
    held.bring(stub.job(1, call=make_call(wanted=False)))
    held.bring(stub.job(2, call=make_call(deadline=time.monotonic())))
    held.bring(stub.job(3))
    held.release()

    assert stub.batches == [[0], [3]]
    assert held.results[(1,)].reason == "CANCELLED"
    assert held.results[(2,)].reason == "DEADLINE_EXCEEDED"


def test_a_batch_that_nobody_waits_for_any_more_stops_between_stages():
    lanes, stub = make_lanes(), Stub()
    left = threading.Event()
    call = Call(float("inf"), lambda: not left.is_set())

    def run(_, batch):
        batch.check()
        left.set()
        time.sleep(0.002)
        batch.check()
        raise AssertionError("nobody waits")

    with pytest.raises(CallError, match="the caller went away"):
        lanes.run(Job(call, stub.series, "key", run, (1,), 1))


def test_a_closed_lane_takes_nothing():
    lanes, stub = make_lanes(), Stub()
    lanes.close()

    with pytest.raises(CallError) as caught:
        lanes.run(stub.job(1))

    assert caught.value.reason == "SHUTTING_DOWN"


@pytest.mark.parametrize("num_lanes", [1, 2, 3])
def test_no_job_is_lost_doubled_or_left_among_hundreds_of_threads(num_lanes):
    lanes, stub = make_lanes(num_lanes, max_batch_images=7), Stub()
    lanes.num_calls = lambda: 1000  # gives way wherever it can
    done: list[int] = []

    def work(worker: int) -> None:
        choose = random.Random(worker)
        for number in range(20):
            item = 20 * worker + number
            call = make_call(f"caller {choose.randrange(5)}")
            assert lanes.run(stub.job(item, call=call, key=choose.randrange(3))) == [2 * item]
            done.append(item)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(done) == list(range(4000))
    assert Counter(i for batch in stub.batches for i in batch) == Counter(range(4000))
    assert max(map(len, stub.batches)) > 1
    assert lanes._free == num_lanes
    assert lanes._inside == 0
    assert lanes._queue.pop() is None


def test_no_more_lanes_are_at_work_than_there_are():
    lanes, stub = make_lanes(2), Stub()
    at_work = threading.Semaphore(2)

    def run(items, _):
        assert at_work.acquire(blocking=False)
        time.sleep(0.001)
        at_work.release()
        return items

    def work() -> None:
        for number in range(10):
            lanes.run(Job(make_call(), stub.series, number, run, (number,), 1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert lanes._free == 2


def test_a_busy_lane_refuses_what_would_wait_for_too_long():
    lanes, stub = make_lanes(max_queue_seconds=2.0), Stub()
    lanes.admit(make_call(), stub.series, 10**9)  # an idle one takes anything
    held = Held(lanes, stub)
    lanes.admit(make_call(), stub.series, 10**9)  # nothing is known yet
    lanes._load._paces[stub.series] = pace = Pace()
    pace.seconds_per_pixel = 0.1
    held.bring(stub.job(1, call=make_call("bulk"), pixels=30))
    with pytest.raises(CallError, match=r"the queue is full; try again in 3\.00 s") as caught:
        lanes.admit(make_call("bulk"), stub.series, 1)
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.retry_after_seconds == pytest.approx(3.0)
    lanes.admit(make_call("single"), stub.series, 1)  # waits for as much of the other's: 0.1 s
    soon = make_call("single", deadline=time.monotonic() + 0.15)
    with pytest.raises(CallError, match="longer than the call's deadline"):
        lanes.admit(soon, stub.series, 1)
    held.release()


def test_long_work_stops_when_its_caller_leaves():
    lanes, stub, left = make_lanes(), Stub(), threading.Event()

    def run(_, __):
        check_interruption()
        left.set()
        time.sleep(0.01)  # the next look is not that of a moment ago
        check_interruption()
        raise AssertionError("nobody waits")

    call = Call(float("inf"), lambda: not left.is_set(), "")
    with pytest.raises(CallError, match="went away"):
        lanes.run(Job(call, stub.series, "key", run, (1,), 1))
    assert lanes.is_free()
