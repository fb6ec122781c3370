"""The command line, `kompakt`."""

from kompakt_client.cli._main import main

__all__ = ["main"]
