import threading

from kompakt_service.patience import Patience


class Context:
    def __init__(self):
        self.cancelled = threading.Event()

    def cancel(self):
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
