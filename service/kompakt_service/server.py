"""A server: everything put together, started, and stopped without dropping what it accepted."""

import logging
import math
import threading
from concurrent import futures
from importlib.metadata import version
from wsgiref.simple_server import WSGIServer

import grpc
import torch
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_codec.images import ImageLimits
from kompakt_service.interceptors import CallInterceptor
from kompakt_service.lanes import Lanes
from kompakt_service.metrics import Metrics
from kompakt_service.pipeline import Pipeline
from kompakt_service.pool import CallPool
from kompakt_service.servicers import CompressionServicer, ModelServicer
from kompakt_service.settings import Settings
from kompakt_service.store import ModelStore

_LOGGER = logging.getLogger(__name__)

SERVICES = tuple(service.full_name for service in pb.DESCRIPTOR.services_by_name.values())


class StartError(Exception):
    """The server cannot start; the message says why."""


class Server:
    """Serves the models of a directory. Loads them when made; raises CheckpointError."""

    def __init__(self, settings: Settings) -> None:
        if settings.torch_threads:
            torch.set_num_threads(settings.torch_threads)
        self._settings = settings
        self._metrics = Metrics()
        self._metrics.build.info({"version": version("kompakt"), "torch": torch.__version__})
        self.store = ModelStore.load(
            settings.models, settings.device, settings.default_model, effort=settings.effort
        )
        for model in self.store:
            self._metrics.describe_model(model)
        self._lanes = Lanes(
            settings.num_lanes,
            max_batch_images=settings.max_batch_images,
            max_batch_pixels=settings.max_batch_pixels,
            max_queue_seconds=settings.max_queue_seconds,
            metrics=self._metrics,
        )
        self._calls = self._make_interceptor()
        self._health = health.HealthServicer()
        self._server = self._make_server()
        self._http: tuple[WSGIServer, threading.Thread] | None = None
        self.port = 0
        self.metrics_port = 0

    def start(self) -> None:
        """Listen on both ports. Raises StartError if one is taken."""
        settings = self._settings
        try:
            self.port = self._server.add_insecure_port(f"{settings.host}:{settings.port}")
        except RuntimeError as exc:
            raise StartError(
                f"cannot listen on {settings.host}:{settings.port}: is the port in use? "
                "choose another with --port"
            ) from exc
        try:
            self._http = start_http_server(
                settings.metrics_port, settings.host, self._metrics.registry
            )
        except OSError as exc:
            raise StartError(
                f"cannot serve metrics on {settings.host}:{settings.metrics_port}: {exc}; "
                "choose another port with --metrics-port"
            ) from exc
        self.metrics_port = self._http[0].server_port
        self._server.start()
        for service in ("", *SERVICES):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        _LOGGER.info(
            "serving",
            extra={
                "port": self.port,
                "metrics_port": self.metrics_port,
                "device": settings.device,
                "models": ",".join(model.name for model in self.store),
            },
        )

    def drain(self) -> None:
        """Report NOT_SERVING, so that load balancers look elsewhere, and go on serving."""
        self._health.enter_graceful_shutdown()

    def stop(self, grace_seconds: float, hurry: threading.Event | None = None) -> None:
        """Take no new calls, wait for the accepted ones, and free what is held.

        The waiting ends when ``hurry`` is set.
        """
        self.drain()
        stopped = self._server.stop(grace_seconds)
        while not stopped.wait(0.1):
            if hurry is not None and hurry.is_set():
                self._server.stop(0)
        self._lanes.close()
        self._calls.close()
        if self._http is not None:
            self._http[0].shutdown()
            self._http[0].server_close()
            self._http[1].join()
        _LOGGER.info("stopped")

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
        return CallInterceptor(self._metrics, unary, streams)

    def _make_server(self) -> grpc.Server:
        settings = self._settings
        server = grpc.server(
            futures.ThreadPoolExecutor(8, thread_name_prefix="grpc"),
            interceptors=[self._calls],
            options=_channel_options(settings.max_message_bytes),
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
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        for service in ("", *SERVICES):
            self._health.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
        reflection.enable_server_reflection(
            (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
        return server


def _channel_options(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # Two servers on one port would share its calls unseen; better an error at the start.
        ("grpc.so_reuseport", 0),
        # Clients ping idle connections every 30 s; the default answers that with GOAWAY.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
