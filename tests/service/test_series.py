"""Metrics noted at once and counted later."""

import itertools
import threading

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest

from kompakt_service.series import Notebook, Spread, Sums
from tests.service.support import interrupted

BUCKETS = (0.1, 1.0, 10.0)


@given(st.lists(st.one_of(st.sampled_from(BUCKETS), st.floats(0, 20)), min_size=1))
def test_many_observations_at_once_count_as_one_by_one(amounts):
    registry, other = CollectorRegistry(), CollectorRegistry()
    notebook = Notebook(registry)
    spread = Spread("x", "X.", ["label"], buckets=BUCKETS, registry=registry)
    note = notebook.series(spread, "a")
    histogram = Histogram("x", "X.", ["label"], buckets=BUCKETS, registry=other).labels("a")

    for amount in amounts:
        note(amount)
        histogram.observe(amount)

    def lines(registry):
        page = generate_latest(registry).decode().splitlines()
        return [line for line in page if line.startswith(("x_bucket", "x_count"))]

    assert lines(registry) == lines(other)


def test_what_is_noted_is_there_whenever_metrics_are_read():
    registry = CollectorRegistry()
    notebook = Notebook(registry)
    note = notebook.series(Sums("x", "X.", ["label"], registry=registry), "a")
    watched = Gauge("y", "Y.", registry=registry)
    notebook.watch(watched, lambda: 7)

    note(1)
    note(2.5)

    assert b'x_total{label="a"} 3.5' in generate_latest(registry)
    assert registry.get_sample_value("y") == 7
    note(1)
    assert b'x_total{label="a"} 4.5' in generate_latest(registry)


def test_notes_of_many_threads_are_all_counted():
    registry = CollectorRegistry()
    notebook = Notebook(registry)
    note = notebook.series(Sums("x", "X.", ["label"], registry=registry), "a")

    def work() -> None:
        for _ in range(2000):
            note(1)
            notebook.count_at_times()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    notebook.count()

    assert registry.get_sample_value("x_total", {"label": "a"}) == 16000


def test_series_may_begin_during_a_count():
    registry = CollectorRegistry()
    notebook = Notebook(registry)
    sums = Sums("x", "X.", ["label"], registry=registry)
    for label in "abc":
        notebook.series(sums, label)(1)
    numbers = itertools.count()

    with interrupted(lambda: notebook.series(sums, str(next(numbers)))):
        notebook.count()

    assert next(numbers)
    assert registry.get_sample_value("x_total", {"label": "c"}) == 1
