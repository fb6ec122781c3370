"""Structured logs: one record a line, as JSON for machines or text for people."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """``time level logger message key=value …``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Append whatever was given as ``extra``; line breaks within are written as in Python."""
        extra = [f"{k}={v}" for k, v in vars(record).items() if k not in _STANDARD]
        return "\\n".join(" ".join([super().formatMessage(record), *extra]).splitlines())


class _WorkerNumber(logging.Filter):
    """Puts the worker's number into every record."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def filter(self, record: logging.LogRecord) -> bool:
        record.worker = self._number
        return True


def configure_logging(level: str, log_format: str, *, worker: int | None = None) -> None:
    """Send this process's records to stderr, of libraries only warnings and errors.

    Each names the worker if there are several. Called by the command, never on import.
    """
    logging.captureWarnings(True)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            ["asctime", "levelname", "name", "message"],
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        )
        if log_format == "json"
        else TextFormatter()
    )
    if worker is not None:
        handler.addFilter(_WorkerNumber(worker))
    logging.basicConfig(level="WARNING", handlers=[handler], force=True)
    logging.getLogger("kompakt_service").setLevel(level.upper())
