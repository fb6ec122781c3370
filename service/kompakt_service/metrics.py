"""Prometheus metrics: the de-facto gRPC server names, and what is Kompakt's own.

Every gauge says how the values of several workers become one, of those that live: the rest would
go on counting the dead, or stand there for each worker.
"""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from kompakt_service.loading import LoadedModel
from kompakt_service.series import Note, Notebook, Spread, Sums
from kompakt_service.snapshot import Models

SECONDS_BUCKETS = tuple(round(0.0002 * 1.6**i, 6) for i in range(26))  # 0.2 ms to 25 s
BYTES_BUCKETS = tuple(4.0 * 2**i for i in range(24))  # 4 B to 32 MiB
BATCH_BUCKETS = tuple(2.0**i for i in range(13))
RATIO_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True, eq=False)
class OperationSeries:
    """What is noted of an operation with a model."""

    image: Note
    queue: Note
    transform: Note
    entropy: Note
    batch_images: Note
    pixel_bytes: Note
    stream_bytes: Note
    stream_size: Note
    ratio: Note

    def observe_stream(self, stream_bytes: int, pixel_bytes: int) -> None:
        """Note one compressed image."""
        self.pixel_bytes(pixel_bytes)
        self.stream_bytes(stream_bytes)
        self.stream_size(stream_bytes)
        self.ratio(stream_bytes / pixel_bytes)


@dataclass(frozen=True, slots=True, eq=False)
class RpcSeries:
    """What is noted of a method's calls."""

    started: Note
    received: Note
    sent: Note
    handling: Note
    ok: Note


class Metrics:
    """All metrics of one server, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.notebook = Notebook(registry)
        self._operations: dict[tuple[str, str], OperationSeries] = {}
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        call = ["grpc_type", "grpc_service", "grpc_method"]
        self.started = Sums("grpc_server_started", "RPCs started.", call, registry=registry)
        self.handled = Sums(
            "grpc_server_handled",
            "RPCs completed, whatever the outcome.",
            [*call, "grpc_code"],
            registry=registry,
        )
        self.received = Sums(
            "grpc_server_msg_received", "Messages received.", call, registry=registry
        )
        self.sent = Sums("grpc_server_msg_sent", "Messages sent.", call, registry=registry)
        self.handling = Spread(
            "grpc_server_handling_seconds",
            "Time from the start of an RPC to its end.",
            call,
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.stage = Spread(
            "kompakt_stage_duration_seconds",
            "Time that a call spent in a stage: image, queue, transform, entropy.",
            ["stage", "operation", "model"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.pending_calls = Gauge(
            "kompakt_pending_calls",
            "Calls accepted and not yet answered.",
            ["kind"],
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.queue_pixels = Gauge(
            "kompakt_queue_pixels",
            "Pixels waiting for the device or on it.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.batch_images = Spread(
            "kompakt_batch_images",
            "Images in one batch on the device.",
            ["model", "operation"],
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self.images = Sums(
            "kompakt_images",
            "Images or streams processed, by outcome: OK or the error's reason.",
            ["operation", "model", "outcome"],
            registry=registry,
        )
        self.pixel_bytes = Sums(
            "kompakt_pixel_bytes", "Bytes of raw pixels compressed.", ["model"], registry=registry
        )
        self.stream_bytes = Sums(
            "kompakt_stream_bytes", "Bytes of streams made.", ["model"], registry=registry
        )
        self.stream_size = Spread(
            "kompakt_stream_size_bytes",
            "Size of one stream.",
            ["model"],
            buckets=BYTES_BUCKETS,
            registry=registry,
        )
        self.ratio = Spread(
            "kompakt_compression_ratio",
            "Stream bytes over raw pixel bytes, of one image.",
            ["model"],
            buckets=RATIO_BUCKETS,
            registry=registry,
        )
        self.model_info = Gauge(
            "kompakt_model_info",
            "1 for each loaded version of each model, 0 for what has been unloaded.",
            ["model", "architecture", "fingerprint", "version", "current"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._described: set[tuple[str, ...]] = set()
        # Not an Info, which several processes cannot have.
        self.build_info = Gauge(
            "kompakt_build_info",
            "1, labelled with the software's versions.",
            ["version", "torch"],
            multiprocess_mode="livemax",
            registry=registry,
        )

    def describe_models(self, models: Models) -> None:
        """Expose what is loaded, and what was."""
        for labels in self._described:
            self.model_info.labels(*labels).set(0)
        self._described = {_labels(one, models) for one in models.loaded.values()}
        for labels in self._described:
            self.model_info.labels(*labels).set(1)

    def operation(self, operation: str, model: str) -> OperationSeries:
        """The series of an operation ("compress", "decompress" or "evaluate") with a model."""
        key = operation, model
        found = self._operations.get(key)
        if found is None:
            found = self._operations[key] = self._operation(operation, model)
        return found

    def _operation(self, operation: str, model: str) -> OperationSeries:
        note = self.notebook.series
        stages = ("image", "queue", "transform", "entropy")
        of_model = (self.pixel_bytes, self.stream_bytes, self.stream_size, self.ratio)
        notes = [note(self.stage, stage, operation, model) for stage in stages]
        notes.append(note(self.batch_images, model, operation))
        notes += [note(metric, model) for metric in of_model]
        return OperationSeries(*notes)

    def rpc(self, grpc_type: str, service: str, method: str) -> RpcSeries:
        """The series of a method."""
        labels = grpc_type, service, method
        note = self.notebook.series
        notes = [note(m, *labels) for m in (self.started, self.received, self.sent, self.handling)]
        notes.append(note(self.handled, *labels, "OK"))
        return RpcSeries(*notes)


def _labels(model: LoadedModel, models: Models) -> tuple[str, ...]:
    header = model.codec.header
    current = str(models.is_current(model)).lower()
    return header.name, header.architecture, header.fingerprint, model.version.label, current
