"""The processes that ``torchrun`` starts, which train one model together."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from torch import distributed

from kompakt_training.errors import TrainingError
from kompakt_training.launch import is_launched

_TIMEOUT = timedelta(days=7)
"""The others wait while the first validates. torchrun sees a process that dies, without this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """One of the processes that train one model, this one; by default it is the only one.

    The methods are for all processes at once. They raise TrainingError where another has failed.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is this process that validates, writes and reports."""
        return self.rank == 0

    def share(self, batch: torch.Tensor) -> torch.Tensor:
        """The part for this process of a batch that all of them know, along its first axis."""
        size = len(batch) // self.count
        return batch[self.rank * size : (self.rank + 1) * size]

    def average(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its mean over the processes: the same bits in all of them."""
        if self.count == 1 or not tensors:
            return
        flat = _flat(tensors)
        with _others_needed():
            distributed.all_reduce(flat)
        _unflatten(flat / self.count, tensors)

    def spread(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by the first process's."""
        if self.count == 1 or not tensors:
            return
        flat = _flat(tensors)
        with _others_needed():
            distributed.broadcast(flat, 0)
        _unflatten(flat, tensors)

    def require_same(self, facts: str, device: torch.device) -> None:
        """Raise TrainingError unless all processes have the same facts."""
        if self.count == 1:
            return
        digest = np.frombuffer(hashlib.sha256(facts.encode()).digest(), np.uint8)
        own = torch.from_numpy(digest.copy()).to(device)
        first = own.clone()
        with _others_needed():
            distributed.broadcast(first, 0)
            differs = (own != first).any().int().reshape(1)
            distributed.all_reduce(differs, distributed.ReduceOp.MAX)
        if differs.item():
            raise TrainingError(
                "the processes differ in the images, the run's folder or their software: all of "
                "them must see the same files"
            )


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """The processes of this run, connected: by NCCL on CUDA, else by gloo.

    Raises TrainingError where PyTorch lacks that. A process that fails leaves the group as it is,
    since leaving could wait for the others, and ends.
    """
    if not is_launched():
        yield Processes()
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    if not distributed.is_backend_available(backend):
        raise TrainingError(f"this PyTorch is built without {backend}: train without torchrun")
    if backend == "nccl":
        torch.cuda.set_device(device)
    with _others_needed():
        distributed.init_process_group(
            backend, timeout=_TIMEOUT, device_id=device if backend == "nccl" else None
        )
    yield Processes(rank=distributed.get_rank(), count=distributed.get_world_size())
    distributed.destroy_process_group()


def _flat(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _unflatten(flat: torch.Tensor, tensors: Sequence[torch.Tensor]) -> None:
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    with torch.no_grad():
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))


@contextlib.contextmanager
def _others_needed() -> Iterator[None]:
    try:
        yield
    except RuntimeError as exc:  # gloo's and NCCL's errors
        raise TrainingError("another process of this run has failed or cannot be reached") from exc
