"""A server that speaks the contract and stores pixels, with failures on demand.

Its "streams" are `FAKE`, the height, width and channels, and the pixels; images
of more than 64 rows are of a wrong size. A bound on bytes that they do not fit
into is refused, and a lossless stream is said to be PNG's.
"""

import time
from collections import deque
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field

import grpc
from google.rpc import code_pb2

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from tests.client.fake_codec import (
    FINGERPRINT,
    ItemError,
    compress,
    decompress,
    evaluate,
    make_status,
    pool,
)

MESSAGE_BYTES = 64 << 20


@dataclass
class Fault:
    """How a call fails before it does anything."""

    code: grpc.StatusCode
    reason: str = ""
    retry_after: float | None = None
    field: str = ""
    details: bytes | None = None


@dataclass
class FakeServer:
    """What the tests set before a call, and see after it."""

    faults: deque[Fault] = field(default_factory=deque)
    """Each fails one call or stream."""
    cut_streams_after: deque[int] = field(default_factory=deque)
    """Each cuts one stream after it has answered so many messages."""
    delay: float = 0.0
    """Seconds before each answer."""
    max_images: int = 1024
    max_answer_pixels: int | None = None
    """Beyond it an answer is over the limit on a message, which `large_answer` says."""
    large_answer: Fault | None = None
    """How; default, as the transport does."""
    calls: list[str] = field(default_factory=list)
    requests: list = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    end_streams_early: bool = False
    items_to_refuse: int = 0
    """So many items over streams are refused once, as by a busy server."""
    peers: list[str] = field(default_factory=list)
    streams_over: list[str] = field(default_factory=list)
    """The methods of streams that are over, however they ended."""
    num_clean_ends: int = 0
    """How many streams ended because the client had no more to send."""

    def begin(self, method: str, context: grpc.ServicerContext) -> None:
        self.calls.append(method)
        self.peers.append(context.peer())
        self.metadata.append(dict(context.invocation_metadata()))
        time.sleep(self.delay)
        if self.faults:
            abort(context, self.faults.popleft())

    def num_calls(self, method: str) -> int:
        return self.calls.count(method)


def abort(context: grpc.ServicerContext, fault: Fault) -> None:
    status = make_status(
        fault.code.value[0],
        f"injected {fault.reason or fault.code.name}",
        reason=fault.reason,
        retry_after=fault.retry_after,
        field=fault.field,
    )
    details = status.SerializeToString() if fault.details is None else fault.details
    context.set_trailing_metadata((("grpc-status-details-bin", details),))
    context.abort(fault.code, status.message)


def finish(context, results: list, num_items: int) -> None:
    """By the contract a single item's failure is that of the call."""
    if num_items == 1 and results[0].status.code:
        status = results[0].status
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        code = next(c for c in grpc.StatusCode if c.value[0] == status.code)
        context.abort(code, status.message)


class Compression(pb_grpc.CompressionServiceServicer):
    def __init__(self, fake: FakeServer) -> None:
        self.fake = fake

    def Compress(self, request, context):  # noqa: N802
        results = self._unary("Compress", compress, request, request.images, context)
        response = pb.CompressResponse(
            results=results, model=request.options.model or "fake-ae", fingerprint=FINGERPRINT
        )
        response.timings.transform.FromMilliseconds(250)
        return response

    def Decompress(self, request, context):  # noqa: N802
        results = self._unary("Decompress", decompress, request, request.streams, context)
        return pb.DecompressResponse(results=results)

    def Evaluate(self, request, context):  # noqa: N802
        results = self._unary("Evaluate", evaluate, request, request.images, context)
        return pb.EvaluateResponse(results=results, pooled=pool(results))

    def StreamCompress(self, requests, context):  # noqa: N802
        for options, results in self._stream("StreamCompress", compress, requests, context):
            yield pb.StreamCompressResponse(
                results=results, model=options.model or "fake-ae", fingerprint=FINGERPRINT
            )

    def StreamDecompress(self, requests, context):  # noqa: N802
        for _, results in self._stream("StreamDecompress", decompress, requests, context):
            yield pb.StreamDecompressResponse(results=results)

    def StreamEvaluate(self, requests, context):  # noqa: N802
        everything = []
        for _, results in self._stream("StreamEvaluate", evaluate, requests, context):
            everything += results
            yield pb.StreamEvaluateResponse(results=results)
        yield pb.StreamEvaluateResponse(pooled=pool(everything))

    def _unary(self, method, work, request, items, context) -> list:
        self.fake.begin(method, context)
        self.fake.requests.append(request)
        self._check_size(items, context)
        results = self._answer(work, items, request.options, 0, context)
        finish(context, results, len(items))
        return results

    def _stream(self, method, work, requests, context) -> Iterator:
        self.fake.begin(method, context)
        cut = self.fake.cut_streams_after.popleft() if self.fake.cut_streams_after else None
        context.add_callback(lambda: self.fake.streams_over.append(method))
        options, start, answered = None, 0, 0
        for request in requests:
            self.fake.requests.append(request)
            assert request.HasField("options") == (options is None)
            options = request.options if options is None else options
            items = request.streams if method == "StreamDecompress" else request.images
            if not items:
                continue
            if cut == answered:
                abort(context, Fault(grpc.StatusCode.UNAVAILABLE))
            if self.fake.end_streams_early:
                return
            self._check_size(items, context)
            yield options, self._answer(work, items, options, start, context)
            start += len(items)
            answered += 1
        self.fake.num_clean_ends += 1

    def _check_size(self, items, context) -> None:
        if not items:
            abort(context, Fault(grpc.StatusCode.INVALID_ARGUMENT, "NO_IMAGES"))
        if len(items) > self.fake.max_images:
            abort(context, Fault(grpc.StatusCode.INVALID_ARGUMENT, "TOO_MANY_IMAGES"))

    def _answer(self, work, items, options, start, context) -> list:
        results = []
        for index, item in enumerate(items, start):
            try:
                result = work(item, options)
            except ItemError as error:
                kinds = {compress: pb.CompressResult, decompress: pb.DecompressResult}
                result = kinds.get(work, pb.EvaluateResult)(status=error.status)
            if self.fake.items_to_refuse:
                self.fake.items_to_refuse -= 1
                status = make_status(code_pb2.RESOURCE_EXHAUSTED, "busy", retry_after=0.01)
                result = type(result)(status=status)
            result.index = index
            results.append(result)
        limit = self.fake.max_answer_pixels
        if limit and sum(getattr(r, "height", 0) * r.width for r in results) > limit:
            if self.fake.large_answer:
                abort(context, self.fake.large_answer)
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max")
        return results


class Models(pb_grpc.ModelServiceServicer):
    def __init__(self, fake: FakeServer) -> None:
        self.fake = fake

    def ListModels(self, request, context):  # noqa: N802, ARG002
        self.fake.begin("ListModels", context)
        return pb.ListModelsResponse(models=MODELS)

    def GetModel(self, request, context):  # noqa: N802
        self.fake.begin("GetModel", context)
        for model in (*MODELS, LABELLED):
            if request.name in (model.name, ""):
                return pb.GetModelResponse(model=model)
        return abort(context, Fault(grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL"))

    def GetServerInfo(self, request, context):  # noqa: N802, ARG002
        self.fake.begin("GetServerInfo", context)
        return pb.GetServerInfoResponse(
            version="0.1.0", max_images=1024, device="cpu", image_formats=["PNG", "JPEG"]
        )


class ModelAdmin(pb_grpc.ModelAdminServiceServicer):
    """Says what was asked of it, in the model that it answers with."""

    def __init__(self, fake: FakeServer) -> None:
        self.fake = fake

    def _begin(self, method, request, context) -> None:
        self.fake.begin(method, context)
        self.fake.requests.append(request)

    def LoadModel(self, request, context):  # noqa: N802
        self._begin("LoadModel", request, context)
        model = pb.Model(name="fake-ae", version="f1f1f1f1-22222222", is_current=request.promote)
        return pb.LoadModelResponse(model=model)

    def UnloadModel(self, request, context):  # noqa: N802
        self._begin("UnloadModel", request, context)
        return pb.UnloadModelResponse(unloaded=[request.model])

    def PromoteModel(self, request, context):  # noqa: N802
        self._begin("PromoteModel", request, context)
        name, _, version = request.model.partition("@")
        return pb.PromoteModelResponse(model=pb.Model(name=name, version=version, is_current=True))

    def RollbackModel(self, request, context):  # noqa: N802
        self._begin("RollbackModel", request, context)
        model = pb.Model(name=request.name, version="f1f1f1f1-11111111", is_current=True)
        return pb.RollbackModelResponse(model=model)


MODELS = [
    pb.Model(
        name="fake-ae",
        fingerprint=FINGERPRINT,
        architecture="ae",
        accepted_sizes=[pb.SizeRange(min_height=28, max_height=28, min_width=28, max_width=28)],
        channels=1,
        latent_shape=[16, 1, 1],
        is_default=True,
        version="f1f1f1f1-11111111",
        is_current=True,
        measured=pb.MeasuredQuality(
            dataset="digits test",
            num_images=10,
            bytes_per_image=56.5,
            bits_per_pixel=0.577,
            mse=0.002,
            psnr_db=27.0,
        ),
        training=pb.TrainingInfo(dataset="digits train", licence="CC0", num_images=100, epochs=3),
        levels=2,
        default_level=1,
        curve=[
            pb.MeasuredQuality(bytes_per_image=20.5, mse=0.01, psnr_db=20.0),
            pb.MeasuredQuality(bytes_per_image=56.5, mse=0.002, psnr_db=27.0),
        ],
    ),
    pb.Model(
        name="fake-vae",
        fingerprint=FINGERPRINT,
        architecture="vae",
        accepted_sizes=[pb.SizeRange(min_height=1, max_height=64, min_width=2, max_width=128)],
        channels=3,
        levels=1,
        version="f1f1f1f1-33333333",
        is_current=True,
    ),
]


LABELLED = pb.Model(name="fake-cvae", labels=["0", "seven"], levels=3)
"""A model that is not listed, conditioned on labels."""


def serve(
    fake: FakeServer,
    target: str = "127.0.0.1:0",
    credentials: grpc.ServerCredentials | None = None,
) -> tuple[grpc.Server, str]:
    """Start a server for this state, and return it with its address."""
    limits = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.server(futures.ThreadPoolExecutor(8), options=limits)
    pb_grpc.add_CompressionServiceServicer_to_server(Compression(fake), server)
    pb_grpc.add_ModelServiceServicer_to_server(Models(fake), server)
    pb_grpc.add_ModelAdminServiceServicer_to_server(ModelAdmin(fake), server)
    if credentials is None:
        port = server.add_insecure_port(target)
    else:
        port = server.add_secure_port(target, credentials)
    server.start()
    return server, f"127.0.0.1:{port}"
