"""The calls, written once for both clients; see `_commands`."""

from __future__ import annotations

from typing import Any, TypeVar

from kompakt.v1 import compression_pb2 as pb
from kompakt_client._commands import Call, Flow, Patience, Sleep, call, fill
from kompakt_client._errors import (
    DeadlineExceededError,
    InvalidRequestError,
    KompaktError,
    UnavailableError,
)
from kompakt_client._many import needs_smaller
from kompakt_client._operations import Operation
from kompakt_client._packing import Chunk, Packer
from kompakt_client._results import Failure

R = TypeVar("R")

_POLL_SECONDS = 0.1


def single(operation: Operation[R], patience: Patience) -> Flow[R]:
    """Send one item; its failure is raised."""
    yield from choose_label(operation, patience)
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
    yield from choose_label(operation, patience)
    packer = Packer(operation.batch_limits)
    results: list[R | Failure] = []
    while chunk := (yield from fill(packer)):
        results += yield from _exchange(operation, chunk, patience)
    return tuple(results)


def choose_label(operation: Operation[Any], patience: Patience) -> Flow[None]:
    """Have the operation ask for the level that stands for its label, if it has one."""
    if operation.label is None:
        return
    request = pb.GetModelRequest(name=operation.options.model)
    model = (yield from call("GetModel", request, patience)).model
    labels = list(model.labels)
    if operation.label not in labels:
        known = f"choose from {', '.join(labels)}" if labels else "it is conditioned on none"
        message = f"{model.name} has no label {operation.label!r}: {known}"
        raise InvalidRequestError(message, code="INVALID_ARGUMENT")
    operation.options.level = 1 + labels.index(operation.label)


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
        if not needs_smaller(error) or len(chunk) == 1:
            return [_failure(chunk, error)]
    else:
        return operation.results(response, chunk)
    results: list[R | Failure] = []
    for half in chunk.split(len(chunk) // 2):
        results += yield from _exchange(operation, half, patience)
    return results


def _failure(chunk: Chunk, error: KompaktError) -> Failure:
    """Return a call's failure as that of its item, or raise it.

    By the contract the failure of a request's only item is the call's status. Of one item
    there cannot be too many: a server that says so could not answer it in one message.
    """
    if len(chunk) == 1 and (error.of_item or needs_smaller(error)):
        return Failure(index=chunk.indices[0], error=error)
    raise error
