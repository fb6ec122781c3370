"""What a result was measured on: machine, software, commit and date."""

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT

_PACKAGES = (
    "kompakt",
    "grpcio",
    "protobuf",
    "numpy",
    "torch",
    "onnxruntime",
    "openvino",
)


def describe_run() -> dict[str, Any]:
    """Date, commit, machine and versions."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "machine": {
            "processor": _first_value("/proc/cpuinfo", "model name") or platform.processor(),
            "cores": os.cpu_count(),
            "memory": _first_value("/proc/meminfo", "MemTotal"),
            "system": platform.platform(),
            "load_average_before": round(os.getloadavg()[0], 2),
        },
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _first_value(path: str, key: str) -> str | None:
    for line in Path(path).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None
