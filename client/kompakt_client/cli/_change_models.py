"""`kompakt models load`, `unload`, `promote` and `rollback`."""

from __future__ import annotations

import argparse

from kompakt_client._client import Client
from kompakt_client.cli._connect import connect
from kompakt_client.cli._errors import UsageError
from kompakt_client.cli._output import Row, row_printer

_COLUMNS = ("change", "model", "is_current")


def run(args: argparse.Namespace) -> int:
    """Make the change, print what came of it, and return the exit status."""
    if args.change == "unload" and args.all_versions and "@" in args.model:
        name = args.model.partition("@")[0]
        raise UsageError(f"--all unloads all versions of a model: name {name}, not {args.model}")
    with connect(args) as client:
        rows = _unload(client, args) if args.change == "unload" else [_change(client, args)]
    with row_printer(args, _COLUMNS) as print_row:
        for row in rows:
            print_row(row)
            if not (args.json or args.csv):
                print(_sentence(row))
    return 0


def _unload(client: Client, args: argparse.Namespace) -> list[Row]:
    gone = client.unload_model(args.model, all_versions=args.all_versions, timeout=args.timeout)
    return [{"change": "unload", "model": model, "is_current": False} for model in gone]


def _change(client: Client, args: argparse.Namespace) -> Row:
    if args.change == "load":
        model = client.load_model(args.path, promote=args.promote, timeout=args.timeout)
    elif args.change == "promote":
        model = client.promote_model(args.model, timeout=args.timeout)
    else:
        model = client.rollback_model(args.name, timeout=args.timeout)
    return {"change": args.change, "model": model.reference, "is_current": model.is_current}


def _sentence(row: Row) -> str:
    model = row["model"]
    if row["change"] == "unload":
        return f"unloaded {model}"
    if row["is_current"]:
        return f"{model} is current"
    return f"loaded {model}; `kompakt models promote {model}` makes it current"
