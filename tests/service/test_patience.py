import threading
from contextlib import ExitStack

from kompakt_service.patience import Patience


class Context:
    def __init__(self, on_cancel=lambda: None):
        self.cancelled = threading.Event()
        self._on_cancel = on_cancel

    def cancel(self):
        self._on_cancel()
        self.cancelled.set()


def test_a_call_whose_message_does_not_come_is_cancelled():
    context = Context()
    with Patience(lambda: True, seconds=0.1).waiting(context):
        assert context.cancelled.wait(10)


def test_a_call_whose_message_has_come_is_left_alone():
    patience, early, late = Patience(lambda: True, seconds=0.1), Context(), Context()
    with patience.waiting(early):
        pass
    with patience.waiting(late):
        assert late.cancelled.wait(10)
    assert not early.cancelled.is_set()


def test_a_message_may_come_slowly_while_nobody_else_waits():
    crowded = threading.Event()
    context = Context()
    with Patience(crowded.is_set, seconds=0.1).waiting(context):
        assert not context.cancelled.wait(1)
        crowded.set()
        assert context.cancelled.wait(10)


def test_a_call_whose_message_comes_as_another_is_cancelled_is_left_alone():
    late = ExitStack()
    first, second, last = Context(late.close), Context(), Context()
    patience = Patience(lambda: True, seconds=0.1)
    with patience.waiting(first):
        late.enter_context(patience.waiting(second))
        assert first.cancelled.wait(10)
        with patience.waiting(last):
            assert last.cancelled.wait(10)
    assert not second.cancelled.is_set()
