"""The contract's services: requests in, work handed on, responses out.

Errors are raised here and below, and mapped to statuses in one place, ``interceptors``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import Any, TypeVar

import grpc

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_codec.errors import CodecError
from kompakt_codec.images import IMAGE_FORMATS
from kompakt_service import messages
from kompakt_service.answers import compress_result, decompress_result, describe_model
from kompakt_service.call import Call, attempt
from kompakt_service.errors import ItemError, ServiceError, to_status
from kompakt_service.evaluation import Evaluator, Plan, Pool
from kompakt_service.pipeline import Pipeline
from kompakt_service.settings import Settings
from kompakt_service.store import LoadedModel, ModelStore

_Result = TypeVar("_Result", pb.CompressResult, pb.DecompressResult, pb.EvaluateResult)
_Value = TypeVar("_Value")


class CompressionServicer(pb_grpc.CompressionServiceServicer):
    """``kompakt.v1.CompressionService``."""

    def __init__(self, pipeline: Pipeline, settings: Settings) -> None:
        self._pipeline = pipeline
        self._evaluator = Evaluator(pipeline)
        self._max_images = settings.max_images

    def Compress(  # noqa: N802
        self, request: pb.CompressRequest, context: grpc.ServicerContext
    ) -> pb.CompressResponse:
        """Compress one image or many."""
        messages.check_count(len(request.images), self._max_images, "images")
        call = Call.of(context)
        model, results = self._compress(request.images, request.options, call)
        return pb.CompressResponse(
            results=_numbered(_raise_single(results), pb.CompressResult),
            model=model.name,
            fingerprint=model.codec.header.fingerprint,
            timings=messages.timings(call.timings),
        )

    def StreamCompress(  # noqa: N802
        self, request_iterator: Iterator[pb.StreamCompressRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamCompressResponse]:
        """Compress message by message."""
        for options, images, first in self._messages(request_iterator, "images"):
            model, results = self._compress(images, options, Call.of(context))
            yield pb.StreamCompressResponse(
                results=_numbered(results, pb.CompressResult, first),
                model=model.name,
                fingerprint=model.codec.header.fingerprint,
            )

    def Decompress(  # noqa: N802
        self, request: pb.DecompressRequest, context: grpc.ServicerContext
    ) -> pb.DecompressResponse:
        """Decompress one stream or many."""
        messages.check_count(len(request.streams), self._max_images, "streams")
        call = Call.of(context)
        results = self._decompress(request.streams, request.options, call)
        return pb.DecompressResponse(
            results=_numbered(_raise_single(results), pb.DecompressResult),
            timings=messages.timings(call.timings),
        )

    def StreamDecompress(  # noqa: N802
        self, request_iterator: Iterator[pb.StreamDecompressRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamDecompressResponse]:
        """Decompress message by message."""
        for options, streams, first in self._messages(request_iterator, "streams"):
            results = self._decompress(streams, options, Call.of(context))
            yield pb.StreamDecompressResponse(
                results=_numbered(results, pb.DecompressResult, first)
            )

    def Evaluate(  # noqa: N802
        self, request: pb.EvaluateRequest, context: grpc.ServicerContext
    ) -> pb.EvaluateResponse:
        """Measure models and baselines."""
        messages.check_count(len(request.images), self._max_images, "images")
        pool = Pool()
        results = self._evaluate(request.images, request.options, Call.of(context), pool)
        return pb.EvaluateResponse(
            results=_numbered(_raise_single(results), pb.EvaluateResult),
            pooled=pool.measurements(),
        )

    def StreamEvaluate(  # noqa: N802
        self, request_iterator: Iterator[pb.StreamEvaluateRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamEvaluateResponse]:
        """Measure message by message, and pool over the whole stream."""
        pool = Pool()
        for options, images, first in self._messages(request_iterator, "images"):
            results = self._evaluate(images, options, Call.of(context), pool)
            yield pb.StreamEvaluateResponse(results=_numbered(results, pb.EvaluateResult, first))
        yield pb.StreamEvaluateResponse(pooled=pool.measurements())

    def _compress(
        self, images: Sequence[pb.Image], options: pb.CompressOptions, call: Call
    ) -> tuple[LoadedModel, list[pb.CompressResult | ItemError]]:
        model = self._pipeline.store.get(options.model)
        items = self._pipeline.compress(
            images,
            model,
            call,
            demand=messages.read_demand(options, model.codec.levels),
            profile=messages.choose(messages.PROFILES, options.profile, "options.profile"),
            fit=messages.choose(messages.FITS, options.fit, "options.fit"),
            reconstruct=options.return_reconstruction,
            latents=options.return_latents,
        )
        return model, _converted(items, compress_result)

    def _decompress(
        self, streams: Sequence[pb.CompressedImage], options: pb.DecompressOptions, call: Call
    ) -> list[pb.DecompressResult | ItemError]:
        items = self._pipeline.decompress(
            streams,
            call,
            model_name=options.model,
            profile=messages.choose(messages.PROFILES, options.profile, "options.profile"),
            file_format=messages.choose(messages.FORMATS, options.format, "options.format"),
        )
        return _converted(items, decompress_result)

    def _evaluate(
        self, images: Sequence[pb.Image], options: pb.EvaluateOptions, call: Call, pool: Pool
    ) -> list[pb.EvaluateResult | ItemError]:
        plan = self._plan(options)
        sizes: list[int] = []

        def evaluate(image: pb.Image) -> pb.EvaluateResult:
            result = self._evaluator.evaluate(image, plan, call, pool)
            sizes.extend(len(made.image.data) for made in result.reconstructions)
            self._pipeline.check_answer(sizes)
            return result

        results = attempt(evaluate, images, call)
        self._pipeline.count("evaluate", "", results)
        return results

    def _plan(self, options: pb.EvaluateOptions) -> Plan:
        names = [
            messages.choose(messages.BASELINES, b, "options.baselines") for b in options.baselines
        ]
        if options.skip_baselines and names:
            raise ServiceError(
                "INVALID_FIELD",
                "options.baselines must be empty if skip_baselines is set",
                field="options.baselines",
            )
        if not options.skip_baselines and not names:
            names = list(messages.BASELINES.values())
        return Plan(
            models=[self._pipeline.store.get(name) for name in dict.fromkeys(options.models)],
            baselines=list(dict.fromkeys(names)),
            fit=messages.choose(messages.FITS, options.fit, "options.fit"),
            profile=messages.choose(messages.PROFILES, options.profile, "options.profile"),
            return_reconstructions=options.return_reconstructions,
        )

    def _messages(
        self, requests: Iterable[Any], field: str
    ) -> Iterator[tuple[Any, Sequence[Any], int]]:
        """Each message's items with the stream's options and the number of the first item."""
        options = None
        first = 0
        for request in requests:
            if request.HasField("options") is (options is not None):
                raise ServiceError(
                    "INVALID_FIELD",
                    "options must be set in the first message and in no other",
                    field="options",
                )
            options = options or request.options
            items = getattr(request, field)
            if items:
                messages.check_count(len(items), self._max_images, field)
                yield options, items, first
            first += len(items)


class ModelServicer(pb_grpc.ModelServiceServicer):
    """``kompakt.v1.ModelService``."""

    def __init__(self, store: ModelStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def ListModels(  # noqa: N802
        self, request: pb.ListModelsRequest, context: grpc.ServicerContext
    ) -> pb.ListModelsResponse:
        """List the loaded models."""
        del request, context
        return pb.ListModelsResponse(
            models=[describe_model(model, self._store) for model in self._store]
        )

    def GetModel(  # noqa: N802
        self, request: pb.GetModelRequest, context: grpc.ServicerContext
    ) -> pb.GetModelResponse:
        """Describe one model."""
        del context
        return pb.GetModelResponse(model=describe_model(self._store.get(request.name), self._store))

    def GetServerInfo(  # noqa: N802
        self, request: pb.GetServerInfoRequest, context: grpc.ServicerContext
    ) -> pb.GetServerInfoResponse:
        """Tell the server's version and limits."""
        del request, context
        settings = self._settings
        return pb.GetServerInfoResponse(
            version=version("kompakt"),
            max_images=settings.max_images,
            max_image_bytes=settings.max_image_bytes,
            max_image_pixels=settings.max_image_pixels,
            max_message_bytes=settings.max_message_bytes,
            device=settings.device,
            image_formats=IMAGE_FORMATS,
        )


def _converted(
    items: Sequence[_Value | ItemError], convert: Callable[[_Value], _Result]
) -> list[_Result | ItemError]:
    return [i if isinstance(i, (CodecError, ServiceError)) else convert(i) for i in items]


def _raise_single(results: list[_Result | ItemError]) -> list[_Result | ItemError]:
    """A request of one item fails as a call, with that item's error."""
    if len(results) == 1 and isinstance(results[0], (CodecError, ServiceError)):
        raise results[0]
    return results


def _numbered(
    results: Sequence[_Result | ItemError], result_type: type[_Result], first: int = 0
) -> list[_Result]:
    numbered = []
    for index, item in enumerate(results, first):
        if isinstance(item, (CodecError, ServiceError)):
            numbered.append(result_type(index=index, status=to_status(item)))
        else:
            item.index = index
            numbered.append(item)
    return numbered
