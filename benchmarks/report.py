"""Results: a table for the eye, a JSON file for programs, and a dated copy of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.plan import DIRECTIONS
from benchmarks.ratios import GOALS
from kompakt_codec.files import write_whole


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write results, and a copy beside them that the date and the commit name."""
    text = json.dumps(results, indent=2) + "\n"
    dated = f"{path.stem}-{results['date'][:10]}-{commit_of(results)}{path.suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    for one in (path, path.with_name(dated)):
        write_whole(one, text.encode())


def commit_of(results: Mapping[str, Any]) -> str:
    """The commit that was measured, shortened."""
    return (results["commit"] or "unknown")[:7]


def print_results(results: Mapping[str, Any]) -> None:
    """Print the ratios of both directions beside what they should be, and why any is missing."""
    table = Table("ratio", *DIRECTIONS, "goal")
    for name, goal in GOALS.items():
        values = (results[name], results[DIRECTIONS[1]][name])
        table.add_row(name, *map(_shown, values), goal)
    console = Console(width=100)
    console.print(table)
    for name, reason in results["why"].items():
        console.print(f"{name}: {reason}", markup=False, highlight=False)


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3f}"
