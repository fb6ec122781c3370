"""A server: everything put together, started, and stopped without dropping what it accepted."""

import logging
import math
import threading
from collections.abc import Callable
from concurrent import futures
from importlib.metadata import version

import grpc
import torch
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_codec.images import ImageLimits
from kompakt_codec.quality import warm_up
from kompakt_service.admin import AdminPool
from kompakt_service.interceptors import CallInterceptor
from kompakt_service.lanes import Lanes
from kompakt_service.metrics import Metrics
from kompakt_service.models_servicer import ModelAdminServicer, ModelServicer
from kompakt_service.pipeline import Pipeline
from kompakt_service.pool import CallPool
from kompakt_service.ports import MetricsPage, address, cannot_listen
from kompakt_service.servicers import CompressionServicer
from kompakt_service.settings import Settings
from kompakt_service.store import ModelStore
from kompakt_service.watching import Health

_LOGGER = logging.getLogger(__name__)

SERVICES = tuple(service.full_name for service in pb.DESCRIPTOR.services_by_name.values())

PING_INTERVAL_MS = 10_000
"""Between a client's pings, at least. gRPC's default, 5 minutes, would end our client's long calls,
and those of others that ping every 30 s or so."""


class Server:
    """Serves the models of a directory. Loads them when made; raises CheckpointError.

    ``shared``: it is one of several processes on one port, whose supervisor serves the metrics.
    """

    def __init__(self, settings: Settings, *, shared: bool = False) -> None:
        if settings.torch_threads:
            torch.set_num_threads(settings.torch_threads)
        self._settings = settings
        self._shared = shared
        self._metrics = Metrics()
        self._metrics.build_info.labels(version("kompakt"), torch.__version__).set(1)
        self.store = ModelStore.load(
            settings.models,
            settings.device,
            settings.default_model,
            effort=settings.effort,
            state_file=settings.model_state,
            on_change=self._metrics.describe_models,
        )
        _LOGGER.info("warming up")  # the first start of a version compiles loops, for long
        for model in self.store:  # those that come later are tested, which warms them up
            warm_up(model.codec)
        self._lanes = Lanes(
            settings.num_lanes,
            max_batch_images=settings.max_batch_images,
            max_batch_pixels=settings.max_batch_pixels,
            max_queue_seconds=settings.max_queue_seconds,
            metrics=self._metrics,
        )
        self._calls = self._make_interceptor()
        self._health = Health(("", *SERVICES))
        self._server = self._make_server()
        self._page: MetricsPage | None = None
        self._ended = threading.Event()
        self.port = 0
        self.metrics_port = 0

    def start(self) -> None:
        """Listen, and serve the metrics if this process is the only one.

        Raises StartError if a port is taken.
        """
        settings = self._settings
        try:
            self.port = self._server.add_insecure_port(address(settings.host, settings.port))
        except RuntimeError as exc:
            raise cannot_listen(settings.host, settings.port) from exc
        if not self._shared:
            self._page = MetricsPage(settings.host, settings.metrics_port, self._metrics.registry)
            self.metrics_port = self._page.port
        self._server.start()
        counting = self._metrics.notebook.keep_counting
        threading.Thread(target=counting, args=(self._ended,), name="metrics", daemon=True).start()
        self._health.set(health_pb2.HealthCheckResponse.SERVING)
        if not self._shared:
            self._log_serving()

    def drain(self) -> None:
        """Report NOT_SERVING, so that load balancers look elsewhere, and go on serving."""
        self._health.set(health_pb2.HealthCheckResponse.NOT_SERVING)

    def stop(self, grace_seconds: float, hurry: Callable[[], bool] = lambda: False) -> None:
        """Take no new calls, wait for the accepted ones, and free what is held.

        The waiting ends when ``hurry`` returns True.
        """
        self.drain()
        stopped = self._server.stop(grace_seconds)
        self._health.end()
        while not stopped.wait(0.1):
            if hurry():
                self._server.stop(0)
        self._lanes.close()
        self.store.close()
        self._calls.close()
        self._ended.set()
        if self._page is not None:
            self._page.close()
        _LOGGER.info("stopped")

    def _log_serving(self) -> None:
        _LOGGER.info(
            "serving",
            extra={
                "port": self.port,
                "metrics_port": self.metrics_port,
                "device": self._settings.device,
                "models": ",".join(model.name for model in self.store),
            },
        )

    def _make_interceptor(self) -> CallInterceptor:
        settings, on_idle = self._settings, self._metrics.notebook.count
        unary = CallPool(
            settings.call_threads,
            max_pending=settings.max_pending_calls,
            max_wait_seconds=settings.max_queue_seconds,
            share=True,
            name="call",
            on_idle=on_idle,
        )
        streams = CallPool(
            settings.stream_threads,
            max_pending=settings.stream_threads,
            max_wait_seconds=math.inf,
            share=False,
            name="stream",
            on_idle=on_idle,
        )
        self._lanes.num_calls = unary.num_pending
        admin = AdminPool(settings.admin, on_idle=on_idle)
        return CallInterceptor(self._metrics, unary, streams, admin)

    def _make_server(self) -> grpc.Server:
        settings = self._settings
        server = grpc.server(
            futures.ThreadPoolExecutor(1),  # idle: every method has a pool of its own
            interceptors=[self._calls],
            options=_channel_options(settings.max_message_bytes, shared=self._shared),
        )
        limits = ImageLimits(
            max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels
        )
        pipeline = Pipeline(
            self.store,
            self._lanes,
            self._metrics,
            limits=limits,
            max_answer_bytes=settings.max_message_bytes,
        )
        pb_grpc.add_CompressionServiceServicer_to_server(
            CompressionServicer(pipeline, settings), server
        )
        pb_grpc.add_ModelServiceServicer_to_server(ModelServicer(self.store, settings), server)
        pb_grpc.add_ModelAdminServiceServicer_to_server(ModelAdminServicer(self.store), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection(
            (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
        return server


def _channel_options(max_message_bytes: int, *, shared: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # Two servers on one port would share its calls unseen; better an error at the start. For
        # workers the supervisor has made sure that the port is theirs.
        ("grpc.so_reuseport", int(shared)),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
