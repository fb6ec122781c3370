import threading

from kompakt_service.patience import Patience


class Context:
    def __init__(self):
        self.cancelled = threading.Event()

    def cancel(self):
        self.cancelled.set()


def test_a_call_whose_message_does_not_come_is_cancelled():
    context = Context()
    with Patience(0.1).waiting(context):
        assert context.cancelled.wait(10)


def test_a_call_whose_message_has_come_is_left_alone():
    patience, early, late = Patience(0.1), Context(), Context()
    with patience.waiting(early):
        pass
    with patience.waiting(late):
        assert late.cancelled.wait(10)
    assert not early.cancelled.is_set()
