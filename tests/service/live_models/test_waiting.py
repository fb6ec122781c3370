"""Changes of the models that wait for one another, and for whom they do so."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kompakt_service.call import Call
from kompakt_service.errors import ServiceError
from kompakt_service.store import ModelStore
from tests.service.live import FOREVER, another_change, eventually, references
from tests.support import make_checkpoint

CHANGES: dict[str, Callable[[ModelStore, Call], object]] = {
    "load": lambda store, call: store.add("next/a2.safetensors", call),
    "promote": lambda store, call: store.promote(references(store)[-1], call),
    "roll back": lambda store, call: store.roll_back("tiny-ae", call),
    "unload": lambda store, call: store.unload("tiny-vae", call, all_versions=True),
}


@pytest.fixture(params=["one process", "several processes"])
def store(request, open_store, directory) -> Iterator[ModelStore]:
    """It has had a change of every kind."""
    make_checkpoint("vae", seed=9).save(directory / "vae.safetensors")
    alone = request.param == "one process"
    store = ModelStore.load(directory, "cpu") if alone else open_store()
    store.add("next/a1.safetensors", FOREVER, promote=True)
    yield store
    store.close()


class Change(threading.Thread):
    """A change on a thread of its own."""

    def __init__(self, change: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._change = change
        self.reason = ""
        self.start()

    def run(self) -> None:
        try:
            self._change()
        except ServiceError as exc:
            self.reason = exc.reason


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (Call(math.inf, lambda: False), "CANCELLED"),
        (Call(-math.inf, lambda: True), "DEADLINE_EXCEEDED"),
    ],
    ids=["left", "late"],
)
def test_a_call_that_is_over_changes_nothing(store, change, call, reason):
    before = store.snapshot()

    with pytest.raises(ServiceError) as caught:
        CHANGES[change](store, call)

    assert caught.value.reason == reason
    assert store.snapshot() is before


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_waits_no_longer_than_its_caller(open_store, state_file, change):
    store = open_store()
    before = store.snapshot()
    gone = threading.Event()
    with another_change(state_file):
        waiting = Change(lambda: CHANGES[change](store, Call(math.inf, lambda: not gone.is_set())))
        time.sleep(0.5)
        assert waiting.is_alive()
        gone.set()
        waiting.join(10)
        assert not waiting.is_alive()

    assert waiting.reason == "CANCELLED"
    assert store.snapshot() is before


def test_what_waits_when_its_process_stops_is_not_done(open_store, state_file):
    store = open_store()
    before = state_file.read_bytes()
    with another_change(state_file):
        waiting = Change(lambda: store.add("next/a1.safetensors", FOREVER))
        time.sleep(0.5)
        store.close()
        waiting.join(10)
        assert not waiting.is_alive()

    assert waiting.reason == "SHUTTING_DOWN"
    assert state_file.read_bytes() == before


def test_a_state_begun_anew_is_followed_though_as_many_changes_have_made_it(
    open_store, directory: Path, state_file: Path
):
    make_checkpoint("vae", seed=9).save(directory / "vae.safetensors")
    one = open_store()
    state_file.unlink()
    (directory / "vae.safetensors").unlink()

    other = open_store()

    assert one.snapshot().registry.revision == other.snapshot().registry.revision
    assert len(references(other)) == 1
    assert eventually(lambda: references(one) == references(other), 10)
