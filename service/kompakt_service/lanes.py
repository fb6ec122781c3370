"""Who computes: the callers' own threads, by flat combining (Hendler et al. 2010).

A thread that brings a job and finds a lane free leads it: it runs its own job at once, with
whatever else of the same key waits, and wakes the others with their results. So a lone call pays
for no other thread and no timer, and under load batches grow by themselves. A leader runs one batch
and hands the lane to the next in turn, whose job begins the next batch.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kompakt_codec.interruption import interruptible
from kompakt_service.call import Call, Timings
from kompakt_service.errors import CallError, queue_full
from kompakt_service.fairness import FairQueue
from kompakt_service.load import CAUTION, Load
from kompakt_service.metrics import Metrics, OperationSeries

_MAX_YIELDS = 16

Items = Sequence[Any]


@dataclass(slots=True, eq=False)
class Batch:
    """Jobs that are computed together, and where their time goes."""

    jobs: Sequence[Job]
    timings: Timings = field(default_factory=Timings)

    def check(self) -> None:
        """Raise CallError if nobody wants the results any more."""
        errors = [job.call.over() for job in self.jobs]
        if errors[0] is not None and None not in errors:
            raise errors[0]


@dataclass(slots=True, eq=False)
class Job:
    """A part of a call: the items of one batch at most."""

    call: Call
    series: OperationSeries
    """Of the operation: what its batches are counted and its speed is measured under."""
    key: Hashable
    """Jobs of equal keys are computed together, by the ``run`` of any of them."""
    run: Callable[[Items, Batch], Items]
    """Items to as many results."""
    items: Items
    pixels: int
    seconds: float = 0.0
    enqueued: float = 0.0
    gate: threading.Lock | None = None
    """Held until the job is done or is to lead; None if it has led from the start."""
    leads: bool = False
    results: Items = ()
    error: Exception | None = None

    @property
    def caller(self) -> str:
        """Whose turn it takes."""
        return self.call.caller


class Lanes:
    """Runs jobs in batches, so many at a time. ``run`` may be called from any thread."""

    def __init__(
        self,
        num_lanes: int,
        *,
        max_batch_images: int,
        max_batch_pixels: int,
        max_queue_seconds: float,
        metrics: Metrics,
    ) -> None:
        self.max_batch_images = max_batch_images
        self.max_batch_pixels = max_batch_pixels
        self._max_queue_seconds = CAUTION * max_queue_seconds
        # At every release of the lock: as long as a lane is free, nothing waits.
        self._free = num_lanes
        self._queue: FairQueue[Job] = FairQueue()
        self._load = Load()
        self._pixels = 0
        self._inside = 0
        self.num_calls: Callable[[], int] = lambda: 0
        """How many calls the server has accepted; those that are not in here may be coming."""
        self._closed = False
        self._lock = threading.Lock()
        metrics.notebook.watch(metrics.queue_pixels, lambda: self._pixels)

    def is_free(self) -> bool:
        """Whether a job would be run at once."""
        return self._free > 0

    def admit(self, call: Call, series: OperationSeries, pixels: int) -> None:
        """Refuse a call that would wait for too long, before any work is done for it.

        Raises CallError QUEUE_FULL, with the time in which the queue will have drained, if that is
        over the budget or the call would outlast its deadline. While a lane is free any call is
        taken.
        """
        with self._lock:
            if self._free:
                return
            seconds = self._load.seconds(series, pixels)
            wait = self._load.wait(call.caller, seconds)
        if wait > self._max_queue_seconds:
            raise queue_full("the queue is full", wait)
        if time.monotonic() + wait + seconds > call.deadline:
            raise queue_full("the queue is longer than the call's deadline", wait)

    def run(self, job: Job) -> Items:
        """Have a job done, in this thread or by another that leads; returns its results.

        Raises CallError if its call was over before it was its turn, and whatever ``job.run`` does.
        """
        job.enqueued = time.monotonic()
        with self._lock:
            if self._closed:
                raise CallError("SHUTTING_DOWN", "the server is shutting down")
            job.seconds = self._load.seconds(job.series, job.pixels)
            self._pixels += job.pixels
            self._inside += 1
            if self._free:
                self._free -= 1
                job.leads = True
            else:
                job.gate = threading.Lock()
                job.gate.acquire()
                self._queue.put(job)
                self._load.queue(job.caller, job.seconds)
        if job.gate is not None:
            job.gate.acquire()
        if job.leads:
            self._lead(job)
        error, job.error = job.error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its frames, this one too, hold the items: nothing here may hold it as well
        return job.results

    def close(self) -> None:
        """Take no more jobs."""
        with self._lock:
            self._closed = True

    def _lead(self, job: Job) -> None:
        """Run one batch, and pass the lane on."""
        self._let_others_come()
        with self._lock:
            batch = [job, *self._fellows(job)]
            seconds = sum(one.seconds for one in batch)
            begun = self._load.begin(seconds)
        computed = 0
        try:
            computed = self._compute(batch)
        finally:
            with self._lock:
                self._load.end(begun, seconds, job.series, computed)
                self._pixels -= sum(one.pixels for one in batch)
                self._inside -= len(batch)
                following = self._next()
            if following is not None and following.gate is not None:
                following.gate.release()
            for fellow in batch[1:]:
                if fellow.gate is not None:
                    fellow.gate.release()

    def _let_others_come(self) -> None:
        """Give way to calls that are on their way here, as long as that brings more jobs.

        Where threads share a core, those that are just receiving calls would else be kept from it
        by batches of one. A lone call does not give way: other processes might take the core.
        """
        for _ in range(_MAX_YIELDS):
            inside = self._inside
            if self.num_calls() <= inside:
                return
            os.sched_yield()
            if self._inside <= inside:
                return

    def _fellows(self, job: Job) -> list[Job]:
        """Jobs out of the queue that fill the batch."""
        images = self.max_batch_images - len(job.items)
        pixels = self.max_batch_pixels - job.pixels

        def fits(other: Job) -> bool:
            nonlocal images, pixels
            images -= len(other.items)
            pixels -= other.pixels
            return images >= 0 and pixels >= 0

        fellows = list(self._queue.take(job.key, fits))
        for fellow in fellows:
            self._load.unqueue(fellow.caller, fellow.seconds)
        return fellows

    def _next(self) -> Job | None:
        """The job that takes the lane over; None if nothing waits, and the lane is free."""
        following = self._queue.pop()
        if following is None:
            self._free += 1
        else:
            self._load.unqueue(following.caller, following.seconds)
            following.leads = True
        return following

    def _compute(self, jobs: Sequence[Job]) -> int:
        """Give each job its results or its error; returns how many pixels were worth it."""
        started = time.monotonic()
        due = []
        for job in jobs:
            job.error = job.call.over() if job.gate is not None else None
            if job.error is None:
                due.append(job)
        if not due:
            return 0
        batch = Batch(due)
        items = due[0].items if len(due) == 1 else [i for job in due for i in job.items]
        try:
            with interruptible(batch.check):
                results = due[0].run(items, batch)
        except Exception as exc:
            if len(due) > 1:  # it must not hurt the others
                return sum(self._compute([job]) for job in due)
            due[0].error = exc
            return 0
        self._hand_out(due, results, batch.timings, started)
        return sum(job.pixels for job in due)

    def _hand_out(
        self, jobs: Sequence[Job], results: Items, timings: Timings, started: float
    ) -> None:
        start = 0
        for job in jobs:
            end = start + len(job.items)
            job.results = results[start:end]
            start = end
            job.call.timings.add(timings)
            job.call.timings.queue += started - job.enqueued
        jobs[0].series.batch_images(len(results))
