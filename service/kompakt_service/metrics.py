"""Prometheus metrics: the de-facto gRPC server names, and what is Kompakt's own.

Every gauge says how the values of several workers become one, of those that live: the rest would
go on counting the dead, or stand there for each worker.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from kompakt_service.store import LoadedModel

SECONDS_BUCKETS = tuple(round(0.0002 * 1.6**i, 6) for i in range(26))  # 0.2 ms to 25 s
BYTES_BUCKETS = tuple(4.0 * 2**i for i in range(24))  # 4 B to 32 MiB
BATCH_BUCKETS = tuple(2.0**i for i in range(13))
RATIO_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


class Metrics:
    """All metrics of one server, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        call = ["grpc_type", "grpc_service", "grpc_method"]
        self.started = Counter("grpc_server_started", "RPCs started.", call, registry=registry)
        self.handled = Counter(
            "grpc_server_handled",
            "RPCs completed, whatever the outcome.",
            [*call, "grpc_code"],
            registry=registry,
        )
        self.received = Counter(
            "grpc_server_msg_received", "Messages received.", call, registry=registry
        )
        self.sent = Counter("grpc_server_msg_sent", "Messages sent.", call, registry=registry)
        self.handling = Histogram(
            "grpc_server_handling_seconds",
            "Time from the start of an RPC to its end.",
            call,
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.stage = Histogram(
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
        self.batch_images = Histogram(
            "kompakt_batch_images",
            "Images in one batch on the device.",
            ["model", "operation"],
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self.images = Counter(
            "kompakt_images",
            "Images or streams processed, by outcome: OK or the error's reason.",
            ["operation", "model", "outcome"],
            registry=registry,
        )
        self.pixel_bytes = Counter(
            "kompakt_pixel_bytes", "Bytes of raw pixels compressed.", ["model"], registry=registry
        )
        self.stream_bytes = Counter(
            "kompakt_stream_bytes", "Bytes of streams made.", ["model"], registry=registry
        )
        self.stream_size = Histogram(
            "kompakt_stream_size_bytes",
            "Size of one stream.",
            ["model"],
            buckets=BYTES_BUCKETS,
            registry=registry,
        )
        self.ratio = Histogram(
            "kompakt_compression_ratio",
            "Stream bytes over raw pixel bytes, of one image.",
            ["model"],
            buckets=RATIO_BUCKETS,
            registry=registry,
        )
        self.model_info = Gauge(
            "kompakt_model_info",
            "1 for each loaded model.",
            ["model", "architecture", "fingerprint"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        # Not an Info, which several processes cannot have.
        self.build_info = Gauge(
            "kompakt_build_info",
            "1, labelled with the software's versions.",
            ["version", "torch"],
            multiprocess_mode="livemax",
            registry=registry,
        )

    def describe_model(self, model: LoadedModel) -> None:
        """Expose a loaded model."""
        header = model.codec.header
        self.model_info.labels(header.name, header.architecture, header.fingerprint).set(1)

    def observe_stream(self, model: str, stream_bytes: int, pixel_bytes: int) -> None:
        """Count one compressed image."""
        self.pixel_bytes.labels(model).inc(pixel_bytes)
        self.stream_bytes.labels(model).inc(stream_bytes)
        self.stream_size.labels(model).observe(stream_bytes)
        self.ratio.labels(model).observe(stream_bytes / pixel_bytes)
