"""Commands of other parts, such as `serve`, found by their entry points.

They are loaded only when they are called, so that the client needs none of
their packages.
"""

from __future__ import annotations

import sys
from importlib import metadata

from kompakt_client.cli._errors import FAILED

GROUP = "kompakt.commands"

_EXTRAS = {
    "serve": "service",
    "health": "service",
    "train": "training",
    "report": "training",
    "bench": "training",
    "sample": "training",
    "import-compressai": "training",
}
"""The extra that each command of Kompakt itself needs."""


def find_plugins() -> dict[str, metadata.EntryPoint]:
    """Return the entry points of the group by name; each is `main(argv: list[str]) -> int`."""
    return {entry.name: entry for entry in metadata.entry_points(group=GROUP)}


def run_plugin(entry: metadata.EntryPoint, argv: list[str]) -> int:
    """Load a command, run it and return its exit status."""
    try:
        status: int = entry.load()(argv)
    except ImportError as error:
        print(_explain(entry.name, error), file=sys.stderr)
        return FAILED
    return status


def _explain(name: str, error: ImportError) -> str:
    missing = (error.name or "").partition(".")[0]
    is_missing = isinstance(error, ModuleNotFoundError) and not missing.startswith("kompakt")
    if name not in _EXTRAS or not is_missing:  # such as a library for which memory is short
        return f"kompakt {name} cannot be loaded: {error}"
    extra = _EXTRAS[name]
    return f"kompakt {name} needs the {extra} extra: pip install 'kompakt[{extra}]'"
