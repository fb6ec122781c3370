"""Transforms on a GPU: copies beside compute, graphs for small batches, half precision where it
cannot hurt.

Analysis runs in float16: a latent that rounds to its neighbour is the encoder's own choice, and
whatever is promised of a stream is measured on its reconstruction. Synthesis runs in plain float32:
float16, and TensorFloat-32 with as short a mantissa, change an image's MSE by up to 1 %, and
bfloat16 its pixels by several levels (docs/decisions.md), which another device would not repeat.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

_GRAPHED_IMAGES = 64
"""Of a batch at most that is small: its time is that of launching kernels, which a graph does at
once."""
_OVERLAPPED_BYTES, _PARTS = 1 << 20, 4
"""From so many bytes on a batch goes in so many parts, each copied while another is computed."""
_TRIALS = 3
"""Runs before a graph is captured, in which libraries choose their algorithms and allot memory."""

Array = npt.NDArray[Any]


class CudaTransform:
    """A module on a GPU, from arrays to arrays of as many rows. May be called from any thread.

    ``level_type`` is that of its second argument. Small batches are graphed if all rows have one
    shape. ``half`` lets it run in float16 as long as what comes out is finite.
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        *,
        level_type: torch.dtype,
        is_one_size: bool,
        half: bool,
    ) -> None:
        torch.backends.cudnn.allow_tf32 = False  # for the process: it has no other scope
        self._module, self._device, self._level_type = module.eval(), device, level_type
        self._half, self._is_one_size = half, is_one_size
        self._copying, self._returning = _stream(device), _stream(device)
        self._graphs: dict[tuple[Any, ...], _Graph] = {}
        self._lock = threading.Lock()

    @torch.inference_mode()
    def __call__(self, array: Array, levels: Sequence[float] | Array) -> Array:
        """The module's output for rows of an array, each at its level."""
        writable = np.require(array, requirements="W")  # PyTorch warns of others
        given = torch.from_numpy(writable), torch.as_tensor(levels, dtype=self._level_type)
        with torch.cuda.device(self._device):
            made = self._run(*given, half=self._half)
            if self._half and not np.isfinite(made).all():
                made = self._run(*given, half=False)
        return made

    def _run(self, rows: torch.Tensor, levels: torch.Tensor, *, half: bool) -> Array:
        def module(*on_device: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cuda", torch.float16, enabled=half, cache_enabled=False):
                output: torch.Tensor = self._module(*on_device)
            return (output.float() if output.is_floating_point() else output).contiguous()

        if not self._is_one_size or not 0 < len(rows) <= _GRAPHED_IMAGES:
            return self._in_parts(module, rows, levels)
        count = 1 << (len(rows) - 1).bit_length()
        with self._lock:
            key = count, rows.dtype, half
            if key not in self._graphs:
                self._graphs[key] = _Graph(module, (rows, levels), count, self._device)
            return self._graphs[key](rows, levels)

    def _in_parts(
        self, module: Callable[..., torch.Tensor], rows: torch.Tensor, levels: torch.Tensor
    ) -> Array:
        parts = _PARTS if rows.nbytes >= _OVERLAPPED_BYTES else 1
        computing = torch.cuda.current_stream()
        held, hosts = [], []  # until all is done: other streams than a tensor's own use it
        for part in zip(rows.chunk(parts), levels.chunk(parts), strict=True):
            with torch.cuda.stream(self._copying):
                given = [one.pin_memory().to(self._device, non_blocking=True) for one in part]
            computing.wait_stream(self._copying)
            made = module(*given)
            self._returning.wait_stream(computing)
            with torch.cuda.stream(self._returning):
                host = torch.empty(made.shape, dtype=made.dtype, pin_memory=True)
                host.copy_(made, non_blocking=True)
                hosts.append((host, self._returning.record_event()))
            held.append((given, made))
        output = np.empty((len(rows), *hosts[0][0].shape[1:]), hosts[0][0].numpy().dtype)
        first = 0
        for host, copied in hosts:
            copied.synchronize()
            output[first : first + len(host)] = host.numpy()
            first += len(host)
        return output


class _Graph:
    """A module's kernels for batches of up to so many rows, launched at once (CUDA Graphs).

    One thread at a time: all calls share its tensors.
    """

    def __init__(
        self,
        module: Callable[..., torch.Tensor],
        like: Sequence[torch.Tensor],
        count: int,
        device: torch.device,
    ) -> None:
        self._hosts = [
            torch.zeros((count, *one.shape[1:]), dtype=one.dtype).pin_memory() for one in like
        ]
        self._inputs = [host.to(device) for host in self._hosts]
        self._stream = _stream(device)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(_TRIALS):
                made = module(*self._inputs)
        self._stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may go on with other models meanwhile.
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            self._output = module(*self._inputs)
        self._host = torch.empty(made.shape, dtype=made.dtype, pin_memory=True)

    def __call__(self, *given: torch.Tensor) -> Array:
        """The output of as many rows as are given; the others repeat what was there before."""
        count = len(given[0])
        for host, one in zip(self._hosts, given, strict=True):
            host[:count] = one
        with torch.cuda.stream(self._stream):
            for tensor, host in zip(self._inputs, self._hosts, strict=True):
                tensor.copy_(host, non_blocking=True)
            self._graph.replay()
            self._host.copy_(self._output, non_blocking=True)
        self._stream.synchronize()
        return self._host[:count].numpy().copy()


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
