"""What compressing and decompressing share: models, limits, lanes, and what is counted."""

import threading
from collections.abc import Sequence

from kompakt_codec.images import ImageLimits
from kompakt_service.call import Timings
from kompakt_service.errors import ITEM_ERRORS, CallError, ItemError, ServiceError
from kompakt_service.lanes import Lanes
from kompakt_service.metrics import Metrics, OperationSeries
from kompakt_service.store import LoadedModel, ModelStore


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

    def too_large(self, num_bytes: int, what: str, way: str) -> ServiceError | None:
        """The error of an item that takes more than a message by itself; None if it does not."""
        if num_bytes <= self._max_answer_bytes:
            return None
        return ServiceError(
            "IMAGE_TOO_LARGE",
            f"{what} take {num_bytes} bytes, over the limit of {self._max_answer_bytes} a message: "
            f"{way}",
        )

    def series(self, operation: str, model: LoadedModel) -> OperationSeries:
        """What is counted of an operation with a model."""
        return self._metrics.operation(operation, model.name)

    def count_failure(self, operation: str, model: str, error: ItemError) -> None:
        """Count an item that failed, by its reason."""
        self._metrics.notebook.series(self._metrics.images, operation, model, error.reason)(1)

    def count(self, operation: str, model: str, results: Sequence[object]) -> None:
        """Count items by their outcome."""
        num_done = 0
        for item in results:
            if isinstance(item, ITEM_ERRORS):
                self.count_failure(operation, model, item)
            else:
                num_done += 1
        if num_done:
            self._metrics.notebook.series(self._metrics.images, operation, model, "OK")(num_done)

    def observe(self, series: OperationSeries, timings: Timings) -> None:
        """Count where the time of a call went."""
        series.image(timings.image)
        series.queue(timings.queue)
        series.transform(timings.transform)
        series.entropy(timings.entropy)
