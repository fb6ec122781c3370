"""The contract's services: requests in, work handed on, responses out.

Errors are raised here and below; ``observing`` gives them statuses, by the table of ``errors``.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import grpc

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_codec.errors import CodecError
from kompakt_service import messages
from kompakt_service.answers import add_compressed, add_decompressed, add_evaluated
from kompakt_service.call import Call, attempt
from kompakt_service.compressing import Compressor
from kompakt_service.decoding import Decompressor
from kompakt_service.errors import ITEM_ERRORS, CallError, ItemError, ServiceError, to_status
from kompakt_service.evaluation import Evaluator, Plan, has_level
from kompakt_service.pipeline import Pipeline
from kompakt_service.plans import CompressPlan, DecompressPlan, Plans
from kompakt_service.pooling import Pool
from kompakt_service.readahead import bursts
from kompakt_service.settings import Settings
from kompakt_service.store import LoadedModel, Models

_Item = TypeVar("_Item")


class CompressionServicer(pb_grpc.CompressionServiceServicer):
    """``kompakt.v1.CompressionService``."""

    def __init__(self, pipeline: Pipeline, settings: Settings) -> None:
        self._pipeline = pipeline
        self._compressor = Compressor(pipeline)
        self._decompressor = Decompressor(pipeline)
        self._compress_plans = Plans(CompressPlan.of)
        self._decompress_plans = Plans(DecompressPlan.of)
        self._evaluator = Evaluator(pipeline)
        self._max_images = settings.max_images

    def Compress(  # noqa: N802
        self, request: pb.CompressRequest, context: grpc.ServicerContext
    ) -> pb.CompressResponse:
        """Compress one image or many."""
        messages.check_count(len(request.images), self._max_images, "images")
        images = list(request.images)
        call = Call.of(context)
        plan = self._compress_plans.of(request.options)
        del request  # so that its memory is free once the images are read
        model = self._compressor.model_for(images, plan)
        self._compressor.admit(images, model, call)
        items = _raise_single(self._compressor.compress(images, model, call, plan))
        response = pb.CompressResponse(model=model.name, fingerprint=model.codec.header.fingerprint)
        _add_results(response.results, items, add_compressed)
        messages.write_timings(call.timings, response.timings)
        return response

    def StreamCompress(  # noqa: N802
        self, request_iterator: Iterator[pb.StreamCompressRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamCompressResponse]:
        """Compress message by message; small ones that have come together, together."""
        model: LoadedModel | None = None
        for options, batches, first in bursts(request_iterator, self._max_images, "images"):
            plan = self._compress_plans.of(options)
            model = model or self._compressor.model_for(batches[0], plan)
            compress = functools.partial(self._compressor.compress, model=model, plan=plan)
            for items in _together(compress, batches, context):
                response = pb.StreamCompressResponse(
                    model=model.name, fingerprint=model.codec.header.fingerprint
                )
                _add_results(response.results, items, add_compressed, first)
                first += len(items)
                yield response

    def Decompress(  # noqa: N802
        self, request: pb.DecompressRequest, context: grpc.ServicerContext
    ) -> pb.DecompressResponse:
        """Decompress one stream or many."""
        streams = request.streams
        messages.check_count(len(streams), self._max_images, "streams")
        call = Call.of(context)
        plan = self._decompress_plans.of(request.options)
        models = self._pipeline.store.snapshot()
        items = self._decompressor.decompress(streams, call, plan, models, admit=True)
        items = _raise_single(items)
        response = pb.DecompressResponse()
        _add_results(response.results, items, add_decompressed)
        messages.write_timings(call.timings, response.timings)
        return response

    def StreamDecompress(  # noqa: N802
        self, request_iterator: Iterator[pb.StreamDecompressRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamDecompressResponse]:
        """Decompress message by message; small ones that have come together, together."""
        models = self._pipeline.store.snapshot()
        for options, batches, first in bursts(request_iterator, self._max_images, "streams"):
            plan = self._decompress_plans.of(options)
            decompress = functools.partial(self._decompressor.decompress, plan=plan, models=models)
            for items in _together(decompress, batches, context):
                response = pb.StreamDecompressResponse()
                _add_results(response.results, items, add_decompressed, first)
                first += len(items)
                yield response

    def Evaluate(  # noqa: N802
        self, request: pb.EvaluateRequest, context: grpc.ServicerContext
    ) -> pb.EvaluateResponse:
        """Measure models and baselines."""
        messages.check_count(len(request.images), self._max_images, "images")
        pool = Pool()
        plan = _evaluate_plan(request.options, self._pipeline.store.snapshot())
        results = self._evaluate(request.images, plan, Call.of(context), pool)
        response = pb.EvaluateResponse(pooled=pool.measurements())
        _add_results(response.results, _raise_single(results), add_evaluated)
        return response

    def StreamEvaluate(  # noqa: N802
        self, request_iterator: Iterator[pb.StreamEvaluateRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamEvaluateResponse]:
        """Measure message by message, and pool over the whole stream."""
        pool = Pool()
        models = self._pipeline.store.snapshot()
        for options, batches, first in bursts(request_iterator, self._max_images, "images"):
            plan = _evaluate_plan(options, models)
            for images in batches:
                results = self._evaluate(images, plan, Call.of(context), pool)
                response = pb.StreamEvaluateResponse()
                _add_results(response.results, results, add_evaluated, first)
                first += len(images)
                yield response
        yield pb.StreamEvaluateResponse(pooled=pool.measurements())

    def _evaluate(
        self, images: Sequence[pb.Image], plan: Plan, call: Call, pool: Pool
    ) -> list[pb.EvaluateResult | ItemError]:
        num_bytes = 0

        def evaluate(image: pb.Image) -> pb.EvaluateResult:
            result = self._evaluator.evaluate(image, plan, call, pool)
            nonlocal num_bytes
            num_bytes += sum(len(made.image.data) for made in result.reconstructions)
            self._pipeline.check_answer(num_bytes)
            return result

        results = attempt(evaluate, images, call)
        self._pipeline.count("evaluate", "", results)
        return results


def _evaluate_plan(options: pb.EvaluateOptions, models: Models) -> Plan:
    names = [messages.choose(messages.BASELINES, b, "options.baselines") for b in options.baselines]
    if options.skip_baselines and names:
        raise ServiceError(
            "INVALID_FIELD",
            "options.baselines must be empty if skip_baselines is set",
            field="options.baselines",
        )
    if not options.skip_baselines and not names:
        names = list(messages.BASELINES.values())
    level = messages.read_level(options)
    named = list(dict.fromkeys(models.get(name, "options.models") for name in options.models))
    asked = named or list(models)
    without = [model.name for model in asked if not has_level(model, level)]
    if without and (named or len(without) == len(asked)):
        message = f"options.level {level:g} is no rate level of {', '.join(without)}"
        raise ServiceError("INVALID_FIELD", message, field="options.level")
    return Plan(
        loaded=models,
        models=named,
        level=level,
        baselines=list(dict.fromkeys(names)),
        fit=messages.choose(messages.FITS, options.fit, "options.fit"),
        profile=messages.choose(messages.PROFILES, options.profile, "options.profile"),
        return_reconstructions=options.return_reconstructions,
    )


def _raise_single(results: list[_Item | ItemError]) -> list[_Item | ItemError]:
    """A request of one item fails as a call, with that item's error."""
    if len(results) == 1 and isinstance(results[0], ITEM_ERRORS):
        # The error will hold the frames, and they the list: it may not hold the error.
        raise cast("CodecError | ServiceError", results.pop())
    return results


def _together(
    work: Callable[..., Sequence[_Item]],
    batches: Sequence[Sequence[Any]],
    context: grpc.ServicerContext,
) -> Iterator[Sequence[_Item]]:
    """The results of each message's items, which are worked on together.

    Message by message if all answers together are over the limit, which is that of one; what was
    done until that was seen is done again.
    """
    try:
        results = work([item for batch in batches for item in batch], call=Call.of(context))
    except CallError as exc:
        if exc.reason != "TOO_MANY_IMAGES" or len(batches) == 1:
            raise
        yield from (work(list(batch), call=Call.of(context)) for batch in batches)
        return
    start = 0
    for batch in batches:
        yield results[start : start + len(batch)]
        start += len(batch)


def _add_results(
    results: Any,
    items: Sequence[_Item | ItemError],
    add: Callable[[_Item, int, Any], None],
    first: int = 0,
) -> None:
    """Append items to an answer's results, errors as their status."""
    for index, item in enumerate(items, first):
        if isinstance(item, ITEM_ERRORS):
            results.add(index=index, status=to_status(item))
        else:
            add(item, index, results)
