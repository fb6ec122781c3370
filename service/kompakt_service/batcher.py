"""The device's one owner: jobs wait in buckets of one model, operation and shape.

The worker thread takes whatever waits in the oldest job's bucket as soon as the device is free. It
never waits for more, so a lone caller pays for no timer, and under load batches grow by themselves.
Rate levels mix in a batch. Before it computes it drops the jobs whose caller is gone or whose
deadline has passed.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from kompakt_codec.codec import Codec
from kompakt_service.errors import CallError
from kompakt_service.metrics import Metrics

Array = npt.NDArray[Any]


class Operation(Enum):
    """What the device does with a batch."""

    ANALYSE = "analyse"
    SYNTHESISE = "synthesise"


def pixels_of(codec: Codec, operation: Operation, array: Array) -> int:
    """Pixels of each of the images (N, height, width, channels) or symbols (N, C, h, w)."""
    if operation is Operation.ANALYSE:
        return int(array.shape[1] * array.shape[2])
    return codec.pixels_of((array.shape[2], array.shape[3]))


@dataclass(frozen=True, slots=True)
class Output:
    """A job's result and where its time went."""

    array: Array
    queue_seconds: float
    transform_seconds: float


@dataclass(slots=True, eq=False)
class _Job:
    codec: Codec
    operation: Operation
    array: Array
    levels: Sequence[int]
    """One for each image."""
    pixels: int
    deadline: float
    """On time.monotonic's clock."""
    is_wanted: Callable[[], bool]
    future: Future[Output] = field(default_factory=Future)
    enqueued: float = field(default_factory=time.monotonic)

    @property
    def bucket(self) -> tuple[int, Operation, tuple[int, ...]]:
        return id(self.codec), self.operation, self.array.shape[1:]


class Batcher:
    """Runs transforms in batches on one thread. ``submit`` may be called from any thread."""

    def __init__(
        self,
        *,
        max_batch_images: int,
        max_batch_pixels: int,
        max_queue_pixels: int,
        metrics: Metrics,
    ) -> None:
        self._max_batch_images = max_batch_images
        self._max_batch_pixels = max_batch_pixels
        self._max_queue_pixels = max_queue_pixels
        self._metrics = metrics
        self._buckets: OrderedDict[Any, deque[_Job]] = OrderedDict()
        self._pixels = 0
        # Of the last batches, older ones counting less: their quotient is the drain rate.
        self._recent_pixels = 1e6
        self._recent_seconds = 0.1
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self._thread.start()

    def batch_size(self, pixels: int) -> int:
        """The most images of so many pixels that one batch, and so one job, should hold."""
        return max(1, min(self._max_batch_images, self._max_batch_pixels // pixels))

    def submit(
        self,
        codec: Codec,
        operation: Operation,
        array: Array,
        levels: Sequence[int],
        *,
        deadline: float,
        is_wanted: Callable[[], bool],
    ) -> Future[Output]:
        """Queue images (N, height, width, channels) or symbols (N, C, h, w) for the device.

        Each goes at its own rate level.

        Raises CallError SHUTTING_DOWN, or QUEUE_FULL with the time in which the queue will have
        drained, if it is full or would outlast the deadline. An empty queue takes any job.
        """
        pixels = len(array) * pixels_of(codec, operation, array)
        job = _Job(codec, operation, array, levels, pixels, deadline, is_wanted)
        with self._changed:
            if self._closed:
                raise CallError("SHUTTING_DOWN", "the server is shutting down")
            if self._pixels and self._pixels + pixels > self._max_queue_pixels:
                raise self._queue_full("the queue for the device is full")
            if self._pixels and time.monotonic() + self._drain_seconds() > deadline:
                raise self._queue_full("the queue is longer than the call's deadline")
            self._buckets.setdefault(job.bucket, deque()).append(job)
            self._pixels += pixels
            self._metrics.queue_pixels.set(self._pixels)
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Finish what waits, then stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _drain_seconds(self) -> float:
        return self._pixels * self._recent_seconds / self._recent_pixels

    def _queue_full(self, why: str) -> CallError:
        wait = min(10.0, max(0.05, self._drain_seconds()))
        return CallError(
            "QUEUE_FULL", f"{why}; try again in {wait:.2f} s", retry_after_seconds=wait
        )

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            wanted = [job for job in batch if self._is_due(job)]
            if wanted:
                self._compute(wanted)
            with self._changed:
                self._pixels -= sum(job.pixels for job in batch)
                self._metrics.queue_pixels.set(self._pixels)

    def _next_batch(self) -> list[_Job] | None:
        with self._changed:
            while not self._buckets:
                if self._closed:
                    return None
                self._changed.wait()
            key, jobs = next(iter(self._buckets.items()))
            batch = [jobs.popleft()]
            images = len(batch[0].array)
            most = self.batch_size(max(1, batch[0].pixels // images))
            while jobs and images + len(jobs[0].array) <= most:
                images += len(jobs[0].array)
                batch.append(jobs.popleft())
            if jobs:
                self._buckets.move_to_end(key)  # the other buckets' turn
            else:
                del self._buckets[key]
            return batch

    @staticmethod
    def _is_due(job: _Job) -> bool:
        if not job.is_wanted():
            job.future.set_exception(CallError("CANCELLED", "the caller went away"))
        elif time.monotonic() > job.deadline:
            job.future.set_exception(
                CallError("DEADLINE_EXCEEDED", "the deadline passed before the device was free")
            )
        else:
            return True
        return False

    def _compute(self, jobs: list[_Job]) -> None:
        started = time.monotonic()
        codec, operation = jobs[0].codec, jobs[0].operation
        transform = codec.analyse if operation is Operation.ANALYSE else codec.synthesise
        arrays = [job.array for job in jobs]
        levels = [level for job in jobs for level in job.levels]
        try:
            result: Array = transform(
                arrays[0] if len(arrays) == 1 else np.concatenate(arrays), levels
            )
        except Exception as exc:  # the thread must outlive a bad batch; the callers get the error
            for job in jobs:
                job.future.set_exception(exc)
            return
        seconds = time.monotonic() - started
        self._observe(jobs, seconds)
        position = 0
        for job in jobs:
            part = result[position : position + len(job.array)]
            position += len(job.array)
            job.future.set_result(Output(part, started - job.enqueued, seconds))

    def _observe(self, jobs: list[_Job], seconds: float) -> None:
        with self._changed:
            self._recent_pixels = 0.9 * self._recent_pixels + sum(job.pixels for job in jobs)
            self._recent_seconds = 0.9 * self._recent_seconds + seconds
        name, operation = jobs[0].codec.header.name, jobs[0].operation.value
        images = sum(len(job.array) for job in jobs)
        self._metrics.batch_images.labels(name, operation).observe(images)
