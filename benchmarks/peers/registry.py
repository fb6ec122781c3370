"""Which peers there are, what each needs, and how each is asked."""

import base64
import json
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.http_load import post
from benchmarks.peers import ITEM_SHAPES, ITEM_TYPES, TRANSFORMS
from benchmarks.peers.protobuf import infer_request, message
from benchmarks.processes import ROOT, BenchmarkError

ENVIRONMENTS = ROOT / "benchmarks/.venvs"
_COMPLETE = ".complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A serving engine."""

    name: str
    requirements: tuple[str, ...]
    request: Callable[[str, bytes], bytes]
    """From a transform's name and one item to a request as the generator sends it."""
    method: Mapping[str, str] | None = None
    """The gRPC method of each transform; None of those that speak HTTP."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def requests(self, direction: str, items: list[bytes]) -> list[bytes]:
        """Requests for one item each."""
        return [self.request(TRANSFORMS[direction], item) for item in items]


def _triton(transform: str, item: bytes) -> bytes:
    shape = (1, *ITEM_SHAPES[transform])
    return infer_request(transform, "batch", ITEM_TYPES[transform].upper(), shape, item)


def _raw(transform: str, item: bytes) -> bytes:
    return post(f"/{transform}", item)


def _json(transform: str, item: bytes) -> bytes:
    body = json.dumps({"data": base64.b64encode(item).decode()}).encode()
    return post(f"/{transform}", body, "application/json")


def _bytes_value(_transform: str, item: bytes) -> bytes:
    return message(1, item)


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            name="pytriton",
            requirements=("nvidia-pytriton==0.7.0", "onnxruntime>=1.22"),
            request=_triton,
            method=dict.fromkeys(TRANSFORMS.values(), "/inference.GRPCInferenceService/ModelInfer"),
            # Its stub of Triton's backend links the system's libpython, and must find this one.
            environment={"LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR") or ""},
        ),
        Peer(
            name="mosec",
            requirements=("mosec==0.9.8", "numpy>=2", "onnxruntime>=1.22"),
            request=_raw,
        ),
        Peer(
            name="litserve",
            requirements=("litserve==0.2.19", "onnxruntime>=1.22"),
            request=_json,
        ),
        Peer(
            name="ray",
            requirements=("ray[serve,serve-grpc]==2.60.0", "onnxruntime>=1.22"),
            request=_bytes_value,
            method={t: f"/kompakt.benchmark.Transform/{t}" for t in TRANSFORMS.values()},
            environment={"RAY_USAGE_STATS_ENABLED": "0"},
        ),
    )
}


def prepare_environment(
    name: str, requirements: tuple[str, ...], *, parent: Path | None = None
) -> Path:
    """Make a virtual environment, unless it is there. Returns its Python.

    With ``parent``, a directory of installed packages, what it has is not installed again. Raises
    BenchmarkError with pip's last words.
    """
    directory = ENVIRONMENTS / name
    python = directory / "bin/python"
    wanted = "\n".join(requirements)
    mark = directory / _COMPLETE
    if mark.is_file() and mark.read_text() == wanted:
        return python
    print(f"setting up {directory.relative_to(ROOT)}, once", file=sys.stderr)
    _run([sys.executable, "-m", "venv", "--clear", str(directory)])
    if parent is not None:
        path = Path(_run([str(python), "-c", "import site; print(site.getsitepackages()[0])"]))
        (path / "zz_parent.pth").write_text(f"{parent}\n")
    _run([str(python), "-m", "pip", "install", "--quiet", *requirements])
    mark.write_text(wanted)
    return python


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BenchmarkError(f"{' '.join(command[1:4])}: {last}")
    return done.stdout.strip()
