"""What a call holds of images that failed: nothing, however many there are."""

import gc
import threading
import time
import tracemalloc
import weakref
from contextlib import contextmanager

import numpy as np
import pytest

from kompakt.v1 import compression_pb2 as pb
from kompakt_codec.errors import WrongSizeError
from kompakt_service.call import Call, attempt
from kompakt_service.errors import CallError
from kompakt_service.lanes import Job, Lanes
from kompakt_service.metrics import Metrics
from tests.service.support import encoded, failure

SIDE = 1200
PIXELS = SIDE * SIDE * 3
"""Bytes of one image, which is of no size that a model takes, and small as a file."""


@pytest.fixture
def wrong():
    return [encoded(np.full((SIDE, SIDE, 3), 9, np.uint8))] * 8


@contextmanager
def without_gc():
    """Only what no reference cycle holds is freed in here."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def memory(work):
    """Bytes that work took at most, and that are left after it; this process's server's too."""
    with without_gc():
        tracemalloc.start()
        try:
            work()
            left, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    return most, left


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("Compress", pb.CompressOptions()),
        ("Evaluate", pb.EvaluateOptions(models=["tiny-ae"], skip_baselines=True)),
    ],
)
def test_a_call_holds_one_image_at_a_time(compression, wrong, method, options):
    def work():
        request = getattr(pb, f"{method}Request")(images=wrong, options=options)
        results = getattr(compression, method)(request).results
        assert all("(height x width x channels)" in result.status.message for result in results)

    work()
    most, left = memory(work)
    assert most < 4 * PIXELS
    assert left < PIXELS


def test_a_call_of_one_image_that_fails_leaves_nothing(compression, wrong):
    def work():
        for _ in range(4):
            request = pb.CompressRequest(images=wrong[:1])
            assert failure(lambda: compression.Compress(request))[1] == "WRONG_SIZE"  # noqa: B023

    work()
    assert memory(work)[1] < PIXELS


def test_an_error_in_a_list_of_results_does_not_hold_the_list():
    held = []

    def work(number):
        pixels = np.zeros(1000)
        held.append(weakref.ref(pixels))
        if number != 1:
            return pixels
        try:
            raise ValueError
        except ValueError:
            raise WrongSizeError("too small") from None

    with without_gc():
        results = attempt(work, range(3), Call(float("inf"), lambda: True))
        assert [ref() is not None for ref in held] == [True, False, True]
        assert isinstance(results[1], WrongSizeError)
        del results
        assert not any(ref() is not None for ref in held)


def test_a_call_that_ends_in_the_queue_leaves_nothing():
    lanes = Lanes(
        1, max_batch_images=8, max_batch_pixels=1 << 30, max_queue_seconds=2, metrics=Metrics()
    )
    series = Metrics().operation("compress", "m")
    begun, go_on = threading.Event(), threading.Event()
    wanted = [True]
    held = []

    def hold(items, _):
        begun.set()
        go_on.wait()
        return items

    def leave():
        pixels = np.zeros(1000)
        held.append(weakref.ref(pixels))
        call = Call(float("inf"), lambda: wanted[0])
        with pytest.raises(CallError, match="the caller went away"):
            lanes.run(Job(call, series, "b", hold, [pixels], 1))

    first = Job(Call(float("inf"), lambda: True), series, "a", hold, [0], 1)
    leader = threading.Thread(target=lanes.run, args=(first,))
    leader.start()
    begun.wait()
    waiting = threading.Thread(target=leave)
    waiting.start()
    while lanes._pixels < 2:  # until both are inside
        time.sleep(0.001)
    with without_gc():
        wanted[0] = False
        go_on.set()
        leader.join()
        waiting.join()
        assert held[0]() is None
