"""What each method of the clients does: a flow, and the inputs that it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from kompakt.v1 import compression_pb2 as pb
from kompakt_client import _flows, _operations
from kompakt_client._commands import Flow, Patience, call
from kompakt_client._config import Settings
from kompakt_client._convert import to_model_info, to_server_info
from kompakt_client._inputs import is_one
from kompakt_client._measurements import ImageEvaluation, ModelInfo, ServerInfo
from kompakt_client._messages import make_message
from kompakt_client._operations import Operation
from kompakt_client._packing import Item
from kompakt_client._results import Failure
from kompakt_client._retry import RetryPolicy

R = TypeVar("R")
T = TypeVar("T")

_ONCE = RetryPolicy(max_attempts=1)

MakeOperation = Callable[..., Operation[R]]
"""One of the functions of `_operations`."""


@dataclass(frozen=True, slots=True)
class Plan(Generic[T]):
    """A flow that is ready to be driven."""

    flow: Flow[T]
    inputs: Any = ()
    """An iterable, for the async client maybe an async one."""
    prepare: Callable[[Any], Item] = _operations.prepare_nothing


@dataclass(frozen=True, slots=True)
class Many(Generic[R]):
    """A run of items over streams."""

    operation: Operation[R]
    patience: Patience
    inputs: Any
    """An iterable, for the async client maybe an async one."""

    def preparation(self) -> Plan[None]:
        """Return what has to be done before the run."""
        return Plan(_flows.choose_label(self.operation, self.patience))


def single(
    settings: Settings, make: MakeOperation[R], source: Any, options: Mapping[str, Any]
) -> Plan[R]:
    """Send one item."""
    operation, patience = _configure(settings, make, options)
    flow = _flows.single(operation, patience)
    return Plan(flow, [source], operation.prepare)


def batch(
    settings: Settings, make: MakeOperation[R], sources: Any, options: Mapping[str, Any]
) -> Plan[tuple[R | Failure, ...]]:
    """Send several items in requests."""
    operation, patience = _configure(settings, make, options)
    flow = _flows.batch(operation, patience)
    return Plan(flow, _several(sources), operation.prepare)


def many(
    settings: Settings, make: MakeOperation[R], sources: Any, options: Mapping[str, Any]
) -> Many[R]:
    """Send any number of items over streams."""
    operation, patience = _configure(settings, make, options)
    return Many(operation, patience, _several(sources))


def evaluate(settings: Settings, sources: Any, options: Mapping[str, Any]) -> Many[ImageEvaluation]:
    """Measure images, over one stream, since the server pools over a stream."""
    return many(settings, _operations.evaluate, sources, options)


def models(settings: Settings, timeout: float | None) -> Plan[tuple[ModelInfo, ...]]:
    """List the models."""

    def flow() -> Flow[tuple[ModelInfo, ...]]:
        request = pb.ListModelsRequest()
        response = yield from call("ListModels", request, settings.patience(timeout))
        return tuple(to_model_info(model) for model in response.models)

    return Plan(flow())


def model(settings: Settings, name: str | None, timeout: float | None) -> Plan[ModelInfo]:
    """Describe one model."""

    def flow() -> Flow[ModelInfo]:
        request = make_message(pb.GetModelRequest, name=name or "")
        response = yield from call("GetModel", request, settings.patience(timeout))
        return to_model_info(response.model)

    return Plan(flow())


def load_model(
    settings: Settings, path: str, *, promote: bool, timeout: float | None
) -> Plan[ModelInfo]:
    """Load a checkpoint on the server."""
    request = make_message(pb.LoadModelRequest, path=path, promote=promote)
    return _change(settings, "LoadModel", request, timeout, lambda r: to_model_info(r.model))


def unload_model(
    settings: Settings, reference: str, *, all_versions: bool, timeout: float | None
) -> Plan[tuple[str, ...]]:
    """Unload a version or a model."""
    request = make_message(pb.UnloadModelRequest, model=reference, all_versions=all_versions)
    return _change(settings, "UnloadModel", request, timeout, lambda r: tuple(r.unloaded))


def promote_model(settings: Settings, reference: str, timeout: float | None) -> Plan[ModelInfo]:
    """Make a version the current one."""
    request = make_message(pb.PromoteModelRequest, model=reference)
    return _change(settings, "PromoteModel", request, timeout, lambda r: to_model_info(r.model))


def rollback_model(settings: Settings, name: str, timeout: float | None) -> Plan[ModelInfo]:
    """Make the version before the current one current."""
    request = make_message(pb.RollbackModelRequest, name=name)
    return _change(settings, "RollbackModel", request, timeout, lambda r: to_model_info(r.model))


def _change(
    settings: Settings,
    method: str,
    request: Message,
    timeout: float | None,
    convert: Callable[[Any], T],
) -> Plan[T]:
    """Change the models: it takes time, and is never tried twice, since it has effects."""

    def flow() -> Flow[T]:
        patience = settings.patience(settings.long_timeout if timeout is None else timeout)
        response = yield from call(method, request, replace(patience, retry=_ONCE))
        return convert(response)

    return Plan(flow())


def server_info(settings: Settings, timeout: float | None) -> Plan[ServerInfo]:
    """Describe the server."""

    def flow() -> Flow[ServerInfo]:
        request = pb.GetServerInfoRequest()
        response = yield from call("GetServerInfo", request, settings.patience(timeout))
        return to_server_info(response)

    return Plan(flow())


def wait_ready(settings: Settings, timeout: float | None) -> Plan[None]:
    """Wait for the server."""
    return Plan(_flows.wait_ready(settings.patience(timeout), settings.target))


def _configure(
    settings: Settings, make: MakeOperation[R], options: Mapping[str, Any]
) -> tuple[Operation[R], Patience]:
    rest = dict(options)
    timeout = rest.pop("timeout", None)
    operation = make(**rest)
    if timeout is None and operation.is_slow:
        timeout = settings.long_timeout
    return operation, settings.patience(timeout)


def _several(sources: Any) -> Any:
    """Refuse one item in place of several: its lines or rows would be taken for items."""
    if is_one(sources):
        raise TypeError(f"several items are needed: put the one {type(sources).__name__} in a list")
    return sources
