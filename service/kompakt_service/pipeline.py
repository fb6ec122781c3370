"""What compressing and decompressing share: models, limits, lanes, and what is counted."""

import threading
from collections.abc import Iterable, Sequence

from kompakt_codec.errors import CodecError
from kompakt_codec.images import ImageLimits
from kompakt_service.call import Timings
from kompakt_service.errors import CallError, ServiceError
from kompakt_service.lanes import Lanes
from kompakt_service.metrics import Metrics, OperationSeries
from kompakt_service.store import ModelStore


class Pipeline:
    """Models of a store on the lanes of one device.

    Each step of the work goes on with what is left of the items: one that fails carries its error
    from there on and never holds up its neighbours. What a call does by itself is done in its own
    thread; what is cheaper for many at once goes through the lanes, together with other calls'.
    """

    def __init__(
        self,
        store: ModelStore,
        lanes: Lanes,
        metrics: Metrics,
        *,
        limits: ImageLimits,
        max_answer_bytes: int,
    ) -> None:
        self.store = store
        self.limits = limits
        self.lanes = lanes
        self.device = threading.Lock()
        self._metrics = metrics
        self._max_answer_bytes = max_answer_bytes

    def check_answer(self, num_bytes: int) -> None:
        """Raise CallError unless decoded images of so many bytes fit into one message."""
        if num_bytes > self._max_answer_bytes:
            raise CallError(
                "TOO_MANY_IMAGES",
                f"the answer would hold {num_bytes} bytes of pixels or latents, over the limit of "
                f"{self._max_answer_bytes} a message: split the request",
            )

    def count(self, operation: str, model: str, results: Iterable[object]) -> int:
        """Count the items that failed by their reason; returns how many did."""
        num_failed = 0
        for item in results:
            if isinstance(item, CodecError | ServiceError):
                note = self._metrics.notebook.series
                note(self._metrics.images, operation, model, item.reason)(1)
                num_failed += 1
        return num_failed

    def observe(
        self, operation: str, model: str, results: Sequence[object], timings: Timings
    ) -> OperationSeries:
        """Count items by their outcome, and where the time went."""
        series = self._metrics.operation(operation, model)
        series.image(timings.image)
        series.queue(timings.queue)
        series.transform(timings.transform)
        series.entropy(timings.entropy)
        num_failed = self.count(operation, model, results)
        if len(results) > num_failed:
            series.ok(len(results) - num_failed)
        return series
