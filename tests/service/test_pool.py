"""The threads of calls: fair, bounded, and quick to refuse."""

import threading
import weakref
from types import SimpleNamespace

import pytest

from kompakt_service.pool import CALLER_KEY, CURRENT, CallPool


def event(caller: str = "", peer: str = "ipv4:127.0.0.1:1") -> SimpleNamespace:
    """The part of grpcio's event that says who calls."""
    metadata = ((CALLER_KEY, caller),) if caller else (("user-agent", "test"),)
    return SimpleNamespace(invocation_metadata=metadata, call=SimpleNamespace(peer=lambda: peer))


class Calls:
    """Calls that note who they are and wait to be released."""

    def __init__(self, pool: CallPool) -> None:
        self._pool = pool
        self._gate = threading.Event()
        self._started = threading.Semaphore(0)
        self.log: list[str] = []
        self.refusals: list[object] = []

    def __call__(self, _: SimpleNamespace) -> None:
        if CURRENT.refusal is not None:
            self.refusals.append((threading.get_ident(), CURRENT.refusal))
            return
        self.log.append(CURRENT.caller)
        self._started.release()
        assert self._gate.wait(30)

    def submit(self, *callers: str) -> None:
        for caller in callers:
            self._pool.submit(self, event(caller))

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self._started.acquire(timeout=10)

    def release(self) -> None:
        self._gate.set()


@pytest.fixture
def idle():
    return threading.Event()


@pytest.fixture
def make_pool(idle):
    pools = []

    def make(threads: int = 1, *, max_pending: int = 100, wait: float = 10.0, share: bool = False):
        pool = CallPool(
            threads,
            max_pending=max_pending,
            max_wait_seconds=wait,
            share=share,
            name="test",
            on_idle=idle.set,
        )
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.shutdown()


def test_a_caller_is_named_by_metadata_or_by_its_address(make_pool):
    pool = make_pool(2)
    calls = Calls(pool)
    calls.submit("me")
    calls.wait_for(1)
    pool.submit(calls, event(peer="ipv4:10.0.0.1:5"))
    calls.wait_for(1)
    calls.release()

    assert calls.log == ["me", "ipv4:10.0.0.1:5"]


def test_callers_take_turns(make_pool):
    calls = Calls(make_pool(1))
    calls.submit("bulk")
    calls.wait_for(1)
    calls.submit("bulk", "bulk", "bulk", "bulk")
    calls.submit("other")  # has no thread yet: it gets a spare one at once
    calls.wait_for(1)
    calls.submit("bulk", "third")
    calls.release()
    calls.wait_for(6)

    assert calls.log[:2] == ["bulk", "other"]
    assert "third" in calls.log[2:5]
    assert calls.log.count("bulk") == 6


def test_one_caller_has_no_more_threads_than_it_should(make_pool):
    calls = Calls(make_pool(2))
    calls.submit(*["bulk"] * 5)
    calls.wait_for(2)
    assert calls.log == ["bulk"] * 2
    calls.submit("single")
    calls.wait_for(1)
    assert calls.log[2:] == ["single"]
    calls.release()
    calls.wait_for(3)


def test_a_call_gets_its_thread_while_another_call_ends(make_pool):
    pool = make_pool(1)
    calls = Calls(pool)
    calls.submit("first")
    calls.wait_for(1)
    due = pool._due

    class WhileAnotherEnds:
        get = due.get

        def put(self, task):
            pool._running -= 1  # until that thread takes its next call
            due.put(task)

    pool._due = WhileAnotherEnds()
    calls.submit("second")
    pool._running += 1
    pool._due = due

    calls.wait_for(1)
    assert calls.log == ["first", "second"]
    calls.release()


def test_a_pool_is_crowded_while_a_call_waits_for_a_thread(make_pool):
    pool = make_pool(1)
    calls = Calls(pool)
    calls.submit("a")
    calls.wait_for(1)
    assert not pool.is_crowded()
    calls.submit("a")
    assert pool.is_crowded()
    calls.release()
    calls.wait_for(1)
    assert not pool.is_crowded()


def test_a_caller_alone_has_half_and_another_finds_room(make_pool):
    calls = Calls(make_pool(1, max_pending=8, share=True))
    calls.submit("bulk")
    calls.wait_for(1)
    calls.submit(*["bulk"] * 9)
    assert len(calls.refusals) == 6  # 4 are in
    calls.submit("single")
    assert len(calls.refusals) == 6
    calls.release()
    calls.wait_for(4)


def test_without_shares_all_are_there_for_one(make_pool):
    calls = Calls(make_pool(4, max_pending=4))
    calls.submit(*["bulk"] * 5)
    assert len(calls.refusals) == 1
    calls.wait_for(4)
    calls.release()


def test_a_refusal_is_given_at_once_in_the_arriving_thread_with_a_hint(make_pool):
    pool = make_pool(1, wait=1.4)
    pool._call_seconds = 0.4
    calls = Calls(pool)
    calls.submit("bulk")
    calls.wait_for(1)
    calls.submit("bulk", "bulk", "bulk")

    [(thread, refusal)] = calls.refusals
    assert thread == threading.get_ident()
    assert refusal.reason == "QUEUE_FULL"
    assert refusal.retry_after_seconds == pytest.approx(1.2)
    assert CURRENT.refusal is None
    calls.release()
    calls.wait_for(2)


def test_calls_that_end_are_told_and_set_the_pace(make_pool, idle):
    pool = make_pool(3)
    ended = threading.Semaphore(0)
    for _ in range(100):
        pool.submit(lambda _: None, event()).add_done_callback(lambda _: ended.release())
    for _ in range(100):
        assert ended.acquire(timeout=10)
    assert idle.wait(10)

    assert pool.num_pending() == 0
    assert 0 < pool._call_seconds < 1


def test_no_call_is_lost_among_many_callers(make_pool):
    pool = make_pool(4, max_pending=10**6)
    lock = threading.Lock()
    done: list[int] = []
    all_done = threading.Event()

    def call(_: object, number: int) -> None:
        with lock:
            done.append(number)
            if len(done) == 2000:
                all_done.set()

    for number in range(2000):
        pool.submit(call, event(f"caller {number % 7}"), number)

    assert all_done.wait(30)
    assert sorted(done) == list(range(2000))


def test_a_thread_that_waits_for_a_call_holds_nothing_of_the_last(make_pool, idle):
    calls = Calls(make_pool())
    held = weakref.ref(calls)
    calls.release()
    calls.submit("me")
    del calls
    assert idle.wait(10)
    assert held() is None


def test_a_call_for_which_no_thread_can_be_had_is_run_by_the_next_that_is_free(
    make_pool, monkeypatch, caplog
):
    pool = make_pool(2)
    calls = Calls(pool)
    calls.submit("first")
    calls.wait_for(1)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        calls.submit("second")
    assert "no thread for another call" in caplog.text
    calls.release()
    calls.wait_for(1)
    assert calls.log == ["first", "second"]
