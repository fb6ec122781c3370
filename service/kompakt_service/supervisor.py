"""``kompakt serve --workers N``: several server processes on one port, and what they share."""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from kompakt_service.group_metrics import DIRECTORY_VARIABLE, GroupMetrics
from kompakt_service.ports import MetricsPage, StartError, hold_port
from kompakt_service.settings import Settings
from kompakt_service.signals import caught_signals
from kompakt_service.worker_group import WorkerGroup
from kompakt_service.worker_process import COMMAND, WorkerProcess

_LOGGER = logging.getLogger(__name__)
_SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "kompakt-workers-"
_ROOM_BYTES = 1 << 20
"""For the files of one worker, which ends with SIGBUS where it finds no room for them."""


def supervise(settings: Settings, *, command: Sequence[str] = COMMAND) -> int:
    """Run ``settings.workers`` workers until SIGTERM or SIGINT. Returns the exit status.

    Raises StartError if a port is taken, a worker cannot start, or later none can any more.
    """
    with ExitStack() as stack:
        signals = stack.enter_context(caught_signals())
        holder = stack.enter_context(hold_port(settings.host, settings.port))
        port: int = holder.getsockname()[1]
        metrics = GroupMetrics(stack.enter_context(_directory(settings.workers)))
        page = MetricsPage(settings.host, settings.metrics_port, metrics.registry)
        stack.callback(page.close)
        launch = _launcher(settings, port, metrics.directory, command)
        group = WorkerGroup(settings.workers, launch, signals=signals, metrics=metrics)
        stack.callback(group.kill)
        caught = group.start()
        if caught is None:
            _log_serving(settings, group, port=port, metrics_port=page.port)
            caught = group.watch()
        status = group.stop(
            caught, drain_seconds=settings.drain_seconds, grace_seconds=settings.grace_seconds
        )
    _LOGGER.info("stopped")
    return status


def _launcher(
    settings: Settings, port: int, directory: Path, command: Sequence[str]
) -> Callable[[int], WorkerProcess]:
    """What starts a worker, given its number: with its part of the cores, or a GPU."""
    cores = max(1, len(os.sched_getaffinity(0)) // settings.workers)
    threads = settings.torch_threads or cores
    # OpenMP makes its threads as PyTorch is loaded, before the worker can tell it how many.
    environment = {"OMP_NUM_THREADS": str(threads)} | os.environ
    environment[DIRECTORY_VARIABLE] = str(directory)
    shared: dict[str, object] = {"workers": 1, "port": port, "torch_threads": threads}
    if settings.admin != "off" and settings.model_state is None:
        shared["model_state"] = str(directory / "models" / "state.json")

    def launch(number: int) -> WorkerProcess:
        device = f"cuda:{number}" if settings.device == "cuda" else settings.device
        values = settings.model_dump(mode="json") | shared | {"device": device}
        return WorkerProcess(number, values, environment, command=command)

    return launch


def _log_serving(settings: Settings, group: WorkerGroup, *, port: int, metrics_port: int) -> None:
    _LOGGER.info(
        "serving",
        extra={
            "port": port,
            "metrics_port": metrics_port,
            "device": settings.device,
            "models": ",".join(group.models),
            "workers": settings.workers,
        },
    )


@contextmanager
def _directory(workers: int) -> Iterator[Path]:
    """A directory for the group's files: in memory if possible, as every call writes to them."""
    for left in _SHARED_MEMORY.glob(f"{_PREFIX}*"):
        _remove_if_left(left)
    is_writable = os.access(_SHARED_MEMORY, os.W_OK)
    has_room = is_writable and shutil.disk_usage(_SHARED_MEMORY).free >= workers * _ROOM_BYTES
    parent = _SHARED_MEMORY if has_room else None
    with ExitStack() as stack:
        try:
            made = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent)
            directory = Path(stack.enter_context(made))
            stack.enter_context(_locked(directory))
        except OSError as exc:
            why = f"several workers need a directory for temporary files: {exc}"
            raise StartError(why) from exc
        yield directory


def _remove_if_left(directory: Path) -> None:
    """Remove the directory of a group whose supervisor was killed."""
    with suppress(OSError), _locked(directory, fcntl.LOCK_NB):
        if any(directory.iterdir()):  # else it may have been made just now, to be locked next
            shutil.rmtree(directory)


@contextmanager
def _locked(directory: Path, flags: int = 0) -> Iterator[None]:
    """Lock a directory, for as long as this process lives at most.

    With LOCK_NB raises OSError if it is locked, else waits.
    """
    opened = os.open(directory, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | flags)
        yield
    finally:
        os.close(opened)
