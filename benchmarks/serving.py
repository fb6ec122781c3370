"""Measures the service beside an empty handler, the bare codec, and what a user would pick instead.

Prints ratios, each from samples taken side by side in this one run, and writes them with the
machine, the versions and the commit. The server runs on the first core, the generator on the
second. What cannot run gives null and a reason.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import blocks
from benchmarks.machine import describe_run
from benchmarks.overload import measure_overload
from benchmarks.peers.registry import PEERS
from benchmarks.plan import Plan
from benchmarks.processes import ROOT, BenchmarkError, end_on_sigterm
from benchmarks.ratios import summarise
from benchmarks.report import print_results, write_results
from benchmarks.workload import CHECKPOINT, MODEL, Work
from kompakt_codec.codec import Codec

RESULTS = ROOT / "benchmarks/results/serving.json"
_OF_SERVICE = ("unary", "batch", "stream")
_OTHERS: dict[str, Callable[[Plan], Any]] = {
    "compressai": blocks.measure_compressai,
    "metrics": blocks.measure_metrics,
    "workers": blocks.measure_workers,
    "overload": measure_overload,
}
PARTS = ("bare", *_OF_SERVICE, *PEERS, *_OTHERS)


def measure(plan: Plan, codec: Codec, parts: Sequence[str]) -> dict[str, Any]:
    """Measure the parts, one block after another."""
    about = describe_run()
    measured: dict[str, Any] = {}
    why: dict[str, str] = {}
    for name, block in _blocks(plan, codec, parts).items():
        print(f"measuring {name}", file=sys.stderr)
        try:
            measured[name] = block()
        except BenchmarkError as exc:
            why[name] = str(exc)
            print(f"{name}: {exc}", file=sys.stderr)
    overload = measured.pop("overload", None)
    return {
        **summarise(measured, overload, why),
        **about,
        "settings": {
            "model": MODEL,
            "profile": "embedded",
            "images": f"28x28x1, {plan.work.source}",
            "seconds": plan.seconds,
            "repeats": plan.repeats,
            "server_core": plan.cores.server,
            "generator_core": plan.cores.generator,
        },
        "blocks": measured,
        "overload": overload,
    }


def _blocks(plan: Plan, codec: Codec, parts: Sequence[str]) -> dict[str, Callable[[], Any]]:
    kinds = [kind for kind in _OF_SERVICE if kind in parts]
    chosen: dict[str, Callable[[], Any]] = {}
    if kinds:
        chosen["service"] = partial(blocks.measure_service, plan, codec, kinds)
    elif "bare" in parts:
        chosen["service"] = partial(blocks.measure_bare, plan)
    for name in PEERS:
        if name in parts:
            chosen[name] = partial(blocks.measure_peer, plan, codec, name)
    for name, function in _OTHERS.items():
        if name in parts:
            chosen[name] = partial(function, plan)
    return chosen


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write. Returns the exit status."""
    arguments = _parser().parse_args(argv)
    parts = arguments.only.split(",") if arguments.only else PARTS
    if unknown := sorted(set(parts) - set(PARTS)):
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    end_on_sigterm()
    torch.set_num_threads(1)
    codec = Codec.load(CHECKPOINT)
    with tempfile.TemporaryDirectory(prefix="kompakt-bench-") as directory:
        plan = Plan(
            directory=Path(directory),
            work=Work.make(codec),
            seconds=arguments.seconds,
            repeats=arguments.repeats,
            overload_seconds=arguments.overload_seconds,
            overload_images=arguments.overload_images,
        )
        if arguments.quick:
            plan = replace(plan, seconds=0.4, warm_up=0.1, repeats=1, overload_seconds=2.0)
        os.sched_setaffinity(0, {plan.cores.generator})
        results = measure(plan, codec, parts)
    print_results(results)
    if "service" in _blocks(plan, codec, parts) and "service" not in results["blocks"]:
        print("nothing is written: our own side was not measured", file=sys.stderr)
        return 1
    out = arguments.out or (RESULTS if not (arguments.only or arguments.quick) else None)
    if out is not None:
        write_results(out, results)
        print(f"written to {out}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--only", metavar="PARTS", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="bursts too short to mean anything")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each burst of load")
    parser.add_argument("--repeats", type=int, default=3, help="of which the median counts")
    parser.add_argument("--overload-seconds", type=float, default=60.0)
    parser.add_argument("--overload-images", type=int, default=64, help="in each of its calls")
    parser.add_argument(
        "--out", type=Path, help="file of results; default, of a full run: benchmarks/results"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
