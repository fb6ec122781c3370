"""The file that keeps a state of models, as one of its processes sees it."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kompakt_codec.errors import CheckpointError
from kompakt_service.call import Call
from kompakt_service.errors import CallError
from kompakt_service.state import POLL_SECONDS, SharedState
from tests.service.live import eventually


def within(seconds: float) -> Call:
    return Call(time.monotonic() + seconds, lambda: True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


@pytest.fixture
def join(path: Path) -> Iterator[Callable[[], SharedState]]:
    states = []

    def joined() -> SharedState:
        states.append(SharedState(path))
        states[-1].join()
        return states[-1]

    yield joined
    for state in states:
        state.close()


def test_a_caller_that_leaves_is_not_kept_until_the_others_follow(join):
    state, _ = join(), join()
    state.report(1)
    end = time.monotonic() + 0.2

    with pytest.raises(CallError) as caught:
        state.await_others(1, Call(time.monotonic() + 10, lambda: time.monotonic() < end))

    assert caught.value.reason == "CANCELLED"
    assert time.monotonic() < end + 5


def test_a_process_at_a_later_revision_is_at_that_of_another_state(join):
    """Of one that was kept in the file before it was deleted."""
    one, other = join(), join()
    one.report(5)
    other.report(1)

    with pytest.raises(CallError, match="1 of the server's processes did not follow"):
        other.await_others(1, within(0.1))

    one.report(1)
    other.await_others(1, within(5))


@pytest.mark.parametrize("character", ["a", "é", "\N{GRINNING FACE}", '"', "\0", "\udc80"])
def test_a_record_has_room_for_any_failure(join, character):
    one, other = join(), join()
    other.report(1)
    one.report(1, "cannot: " + 1000 * character)
    with pytest.raises(CheckpointError, match=f"cannot: {character}") as caught:
        other.await_others(1, within(5))
    assert str(caught.value).count(character) >= 64

    other.report(2)
    one.report(2)
    other.await_others(2, within(5))


def test_a_closed_state_leaves_its_descriptor_to_others(join, tmp_path):
    state = join()
    state.report(1)
    taken = state._record
    state.close()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    if other != taken:
        os.dup2(other, taken)

    state.report(2)
    state.close()

    for descriptor in {other, taken}:
        assert os.read(descriptor, 1) == b""
        os.close(descriptor)


def test_a_file_that_cannot_be_looked_at_for_a_while_is_followed_again(join, path):
    state, looked = join(), threading.Event()
    path.symlink_to(path)
    state.follow(looked.set)
    time.sleep(3 * POLL_SECONDS)
    assert not looked.is_set()

    path.unlink()
    path.write_text("{}")

    assert eventually(looked.is_set, 10)
