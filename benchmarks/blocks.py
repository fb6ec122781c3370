"""What is compared with what: each block measures its rivals in turn, again and again.

A block gives, for each direction and each name, one sample a repeat; ratios are taken within a
repeat, so that whatever else the machine does falls on both sides.
"""

import sysconfig
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from benchmarks.peers.registry import PEERS, prepare_environment
from benchmarks.peers.running import PeerService
from benchmarks.plan import DIRECTIONS, Plan
from benchmarks.processes import module, run_for_json
from benchmarks.service import Load, Service
from benchmarks.workload import CHECKPOINT
from kompakt_codec.codec import Codec
from kompakt_service.settings import DEFAULT_MODELS

Sample: TypeAlias = dict[str, Any]
Block: TypeAlias = dict[str, dict[str, list[Sample]]]
"""Direction to name to samples."""
Probe: TypeAlias = Callable[[str], Sample]
"""From a direction to one sample."""

UNARY64 = Load(in_flight=64)
BATCH64 = Load(in_flight=4, images=64)

_KINDS: dict[str, dict[str, Load]] = {
    "unary": {
        "empty1": Load(in_flight=1, empty=True),
        "unary1": Load(in_flight=1),
        "unary16": Load(in_flight=16),
        "empty64": Load(in_flight=64, empty=True),
        "unary64": UNARY64,
    },
    "batch": {"batch64": BATCH64},
    "stream": {
        "stream64": Load(in_flight=4, images=64, stream=True),
        "stream1": Load(in_flight=64, stream=True),
    },
}
_WORKERS_LOAD = Load(in_flight=32, images=64, connections=16)
AUTOENCODER = DEFAULT_MODELS / "mnist-ae.safetensors"
"""What CompressAI's loop runs, which has a factorized entropy model around such transforms."""
_COMPRESSAI = ("compressai==1.2.8",)


def measure_service(plan: Plan, codec: Codec, kinds: Sequence[str]) -> Block:
    """The bare codec, the empty methods and the service, as the kinds (of ``_KINDS``) say."""
    loads = {name: load for kind in kinds for name, load in _KINDS[kind].items()}
    with Service(plan) as service:
        service.check(codec)
        probes = {name: partial(_on_service, service, load) for name, load in loads.items()}
        return _interleaved(plan, probes, {"bare": partial(_bare, plan)})


def measure_bare(plan: Plan) -> Block:
    """The bare codec alone."""
    return _interleaved(plan, {}, {"bare": partial(_bare, plan)})


def measure_peer(plan: Plan, codec: Codec, name: str) -> Block:
    """A peer beside the service, one image a call."""
    with Service(plan) as service, PeerService(plan, PEERS[name], codec) as peer:
        probes: dict[str, Probe] = {
            "peer64": partial(peer.measure, in_flight=64),
            "unary64": partial(_on_service, service, UNARY64),
            "peer1": partial(peer.measure, in_flight=1),
            "unary1": partial(_on_service, service, Load(in_flight=1)),
        }
        return _interleaved(plan, probes)


def measure_compressai(plan: Plan) -> Block:
    """CompressAI's loop beside the bare codec."""
    # It runs on this environment's torch, so that both do; its own requirements lie beside it.
    parent = Path(sysconfig.get_path("purelib"))
    python = prepare_environment("compressai", _COMPRESSAI, parent=parent)
    images = plan.directory / "digits.npy"
    np.save(images, plan.work.digits[:64])

    def compressai(batch: int) -> dict[str, Sample]:
        command = module(
            "peers.compressai_loop",
            *("--checkpoint", AUTOENCODER, "--images", images, "--batch", batch),
            *plan.burst(),
            python=python,
        )
        rates = run_for_json(
            command,
            {plan.cores.server},
            timeout=plan.patience,
            environment={"PYTHONPATH": ""},
        )
        return {direction: {"images_per_second": rate} for direction, rate in rates.items()}

    wholes = {
        "bare": partial(_bare, plan, AUTOENCODER),
        "compressai": partial(compressai, 64),
        "compressai1": partial(compressai, 1),
    }
    return _interleaved(plan, {}, wholes)


def measure_metrics(plan: Plan) -> Block:
    """The service beside one without metrics and without the log of calls."""
    with Service(plan) as observed, Service(plan, unobserved=True) as unobserved:
        probes: dict[str, Probe] = {
            "observed": partial(_on_service, observed, UNARY64),
            "unobserved": partial(_on_service, unobserved, UNARY64),
        }
        return _interleaved(plan, probes)


def measure_workers(plan: Plan) -> Block:
    """Two workers beside one, on two cores that the generator shares if there are no others."""
    cores = sorted(plan.cores.all)[:2]
    others = plan.cores.all - set(cores) or plan.cores.all
    with (
        Service(plan, "--workers", "1", cores=cores) as one,
        Service(plan, "--workers", "2", cores=cores) as two,
    ):
        probes: dict[str, Probe] = {
            name: partial(_on_service, service, _WORKERS_LOAD, cores=others)
            for name, service in (("workers1", one), ("workers2", two))
        }
        for direction in DIRECTIONS:  # until every worker is warm
            for probe in probes.values():
                probe(direction)
        return _interleaved(plan, probes)


def _interleaved(
    plan: Plan,
    probes: Mapping[str, Probe],
    wholes: Mapping[str, Callable[[], dict[str, Sample]]] | None = None,
) -> Block:
    """Samples of everything in turn; ``wholes`` measure both directions at once."""
    block: Block = {direction: {} for direction in DIRECTIONS}
    for _ in range(plan.repeats):
        for name, whole in (wholes or {}).items():
            for direction, sample in whole().items():
                block[direction].setdefault(name, []).append(sample)
        for direction in DIRECTIONS:
            for name, probe in probes.items():
                block[direction].setdefault(name, []).append(probe(direction))
    return block


def _on_service(
    service: Service, load: Load, direction: str, *, cores: frozenset[int] | None = None
) -> Sample:
    return service.measure(direction, load, cores=cores)


def _bare(plan: Plan, checkpoint: Path = CHECKPOINT) -> dict[str, Sample]:
    command = module("bare", "--checkpoint", checkpoint, *plan.burst())
    rates = run_for_json(command, {plan.cores.server}, timeout=plan.patience)
    return {direction: {"images_per_second": rate} for direction, rate in rates.items()}
