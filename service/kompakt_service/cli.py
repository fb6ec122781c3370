"""``kompakt serve``."""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import disable_created_metrics

from kompakt_codec.errors import CheckpointError
from kompakt_codec.process import prepare_process
from kompakt_service.environment import unknown_variables
from kompakt_service.logs import configure_logging
from kompakt_service.ports import StartError, hold_port, require_metrics_port
from kompakt_service.settings import (
    DEFAULT_MODELS,
    Settings,
    SettingsError,
    load_settings,
    name_of_flag,
)
from kompakt_service.signals import caught_signals
from kompakt_service.supervisor import supervise
from kompakt_service.turns import switch_often

if TYPE_CHECKING:
    from kompakt_service.server import Server

_LOGGER = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit status."""
    arguments = vars(_parser().parse_args(argv))
    config_file = arguments.pop("config")
    flags = {name: value for name, value in arguments.items() if value is not None}
    # Until there are calls to finish. A process that is the first of its container, which ignores a
    # signal that it does not handle, would else have to be killed while it loads its models. At
    # once: native code that is called back from would take an exception for a failure.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    # Without this every counter has a second series that no dashboard reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    prepare_process()
    switch_often()
    try:
        settings = load_settings(flags, config_file)
        configure_logging(settings.log_level, settings.log_format)
        for name in unknown_variables(os.environ, Settings.model_fields):
            _LOGGER.warning("no such setting", extra={"variable": name})
        if settings.workers > 1:
            return supervise(settings)
        _require_ports(settings)
        # Only now: PyTorch takes seconds, for which --help, an error and a supervisor do not wait.
        from kompakt_service.server import Server

        _serve(Server(settings), settings)
    except (SettingsError, CheckpointError, StartError) as exc:
        why = " ".join(line.strip() for line in str(exc).splitlines())  # some say it in several
        print(f"kompakt serve: {why}", file=sys.stderr)
        return 2 if isinstance(exc, SettingsError) else 1
    logging.shutdown()
    # An ordinary exit aborts if a call that was not waited for is in native code.
    os._exit(0)


def _require_ports(settings: Settings) -> None:
    """Raise StartError if a port is taken: before the models are loaded, which takes a while."""
    hold_port(settings.host, settings.port).close()
    require_metrics_port(settings.host, settings.metrics_port)


def _serve(server: "Server", settings: Settings) -> None:
    """Start, wait for a signal, then drain and stop; a second signal cuts the waiting short.

    Raises StartError.
    """
    with caught_signals() as signals:
        server.start()  # only now: whoever reads that it serves may send a signal at once
        first, second = signals.take(), None
        server.drain()
        if first == signal.SIGTERM:
            second = signals.take(settings.drain_seconds)
        server.stop(
            settings.grace_seconds,
            hurry=lambda: second is not None or signals.take(0) is not None,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kompakt serve",
        description="Load every checkpoint of a directory and serve it over gRPC.",
        epilog="A setting comes from its flag, else from the environment (KOMPAKT_PORT for\n"
        "--port), else from the file, else it has its default. The default models lie in\n"
        f"{DEFAULT_MODELS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,  # a path is not wrapped
    )
    parser.add_argument("--config", type=Path, help="TOML file of settings, such as port = 50051")
    for name, field in Settings.model_fields.items():
        shown = "" if field.default in ("", None) else f" (default: {_shown(field.default)})"
        parser.add_argument(
            name_of_flag(name),
            dest=name,
            metavar=name.rpartition("_")[2].upper(),
            help=f"{field.description}{shown}".replace("%", "%%"),
        )
    return parser


def _shown(default: object) -> str:
    return "those in the package" if isinstance(default, Path) else str(default)
