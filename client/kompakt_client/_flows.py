"""The calls, written once for both clients; see `_commands`."""

from __future__ import annotations

from typing import Any, TypeVar

from kompakt.v1 import compression_pb2 as pb
from kompakt_client._commands import Call, Emit, Flow, Patience, Sleep, call, fill
from kompakt_client._convert import to_measurements
from kompakt_client._errors import DeadlineExceededError, KompaktError, UnavailableError
from kompakt_client._measurements import Evaluation, ImageEvaluation
from kompakt_client._operations import Operation
from kompakt_client._packing import Chunk, Packer
from kompakt_client._results import Failure
from kompakt_client._streaming import Stream, needs_smaller

R = TypeVar("R")

_POLL_SECONDS = 0.1


def single(operation: Operation[R], patience: Patience) -> Flow[R]:
    """Send one item; its failure is raised."""
    packer = Packer(operation.batch_limits)
    chunk = yield from fill(packer)
    assert chunk is not None
    response = yield from call(operation.method, operation.request(chunk), patience)
    [result] = operation.results(response, chunk)
    if isinstance(result, Failure):
        raise result.error
    return result


def batch(operation: Operation[R], patience: Patience) -> Flow[tuple[R | Failure, ...]]:
    """Send many items in as many requests as they need; their failures are results."""
    packer = Packer(operation.batch_limits)
    results: list[R | Failure] = []
    while chunk := (yield from fill(packer)):
        results += yield from _exchange(operation, chunk, patience)
    return tuple(results)


def evaluate(operation: Operation[ImageEvaluation], patience: Patience) -> Flow[Evaluation]:
    """Measure images in one request, or over a stream if they need several messages.

    The server pools over a request or a stream, so that a run must not be split.
    """
    packer = Packer(operation.batch_limits)
    first = yield from fill(packer)
    if first is None:
        return Evaluation(images=(), pooled=())
    second = yield from fill(packer)
    if second is None:
        return (yield from _evaluate_request(operation, first, patience))
    stream = Stream(operation, patience, packer, backlog=[first, second], pools=True)
    images: list[ImageEvaluation | Failure] = []
    while results := (yield from stream.next_results()):
        images += results
    last = yield from stream.finish()
    return Evaluation(images=tuple(images), pooled=to_measurements(last.pooled))


def stream(operation: Operation[Any], patience: Patience) -> Flow[None]:
    """Send items over a stream and emit their results as they come, in order."""
    run = Stream(operation, patience, Packer(operation.stream_limits))
    while results := (yield from run.next_results()):
        yield Emit(results)


def wait_ready(patience: Patience, target: str) -> Flow[None]:
    """Ask until the server answers, for as long as there is patience."""
    retry = patience.start()
    while True:
        try:
            yield Call("GetServerInfo", pb.GetServerInfoRequest(), retry.remaining())
        except (UnavailableError, DeadlineExceededError) as error:
            if retry.remaining() <= _POLL_SECONDS:
                message = f"cannot reach {target}: not ready within {patience.timeout:g} s"
                raise UnavailableError(message, code="UNAVAILABLE") from error
        else:
            return
        yield Sleep(_POLL_SECONDS)


def _exchange(operation: Operation[R], chunk: Chunk, patience: Patience) -> Flow[list[R | Failure]]:
    """Send a chunk in one request, or in several if it is too large for one."""
    try:
        response = yield from call(operation.method, operation.request(chunk), patience)
    except KompaktError as error:
        halves = chunk.halves()
        if not needs_smaller(error) or len(halves) == 1:
            return [_failure(chunk, error)]
    else:
        return operation.results(response, chunk)
    results: list[R | Failure] = []
    for half in halves:
        results += yield from _exchange(operation, half, patience)
    return results


def _evaluate_request(
    operation: Operation[ImageEvaluation], chunk: Chunk, patience: Patience
) -> Flow[Evaluation]:
    try:
        response = yield from call(operation.method, operation.request(chunk), patience)
    except KompaktError as error:
        return Evaluation(images=(_failure(chunk, error),), pooled=())
    images = tuple(operation.results(response, chunk))
    return Evaluation(images=images, pooled=to_measurements(response.pooled))


def _failure(chunk: Chunk, error: KompaktError) -> Failure:
    """Return a call's failure as that of its item, or raise it.

    By the contract the failure of a request's only item is the call's status.
    """
    if error.of_item and len(chunk.messages) == 1:
        return Failure(index=chunk.start, error=error)
    raise error
