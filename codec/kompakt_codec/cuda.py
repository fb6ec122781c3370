"""Transforms on a GPU: copies beside compute, graphs for small batches, half precision where it
cannot hurt.

Analysis runs in float16: a latent that rounds to its neighbour is the encoder's own choice, and
whatever is promised of a stream is measured on its reconstruction. Synthesis runs in plain float32:
float16, and TensorFloat-32 with as short a mantissa, change an image's MSE by 1 %, and bfloat16
its pixels by several levels (docs/decisions.md), which another device would not repeat.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from kompakt_codec.tensors import tensor_of

_LOGGER = logging.getLogger(__name__)
_GRAPHED_ROWS, _GRAPHED_PIXELS = 64, 1 << 18
"""Of a batch at most that is small: its time is that of launching kernels, which a graph does at
once. Every graph keeps the memory of its batch."""
_OVERLAPPED_BYTES, _PARTS = 1 << 20, 4
"""From so many bytes on, or with more rows than are graphed, a batch goes in so many parts, each
copied while another is computed."""
_TRIALS = 3
"""Runs before a graph is captured, in which libraries choose their algorithms and allot memory."""

Array = npt.NDArray[Any]

CUDA_LOCK = threading.Lock()
"""Held by whoever uses a GPU: it is one device, and a capture ends in an error if another thread
begins a second one, waits for the whole device, or frees its cache."""


class CudaTransform:
    """A module on a GPU, from arrays to arrays of as many rows. May be called from any thread.

    ``level_type`` is that of its second argument. Small batches are graphed if all rows have one
    shape, ``pixels`` says of how many pixels. ``half`` lets it run in float16 until something that
    comes out is not finite.
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        *,
        level_type: torch.dtype,
        pixels: int | None,
        half: bool,
    ) -> None:
        _leave_tensor_float_32()
        self._module, self._device, self._level_type = module.eval(), device, level_type
        self._half = half
        self._graphed_rows = min(_GRAPHED_ROWS, _GRAPHED_PIXELS // pixels) if pixels else 0
        self._copying, self._returning, self._graphing = (
            torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            for _ in range(3)
        )
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: dict[tuple[int, torch.dtype], _CudaGraph] = {}

    @torch.inference_mode()
    def __call__(self, array: Array, levels: Sequence[float] | Array) -> Array:
        """The module's output for rows of an array, each at its level."""
        given = tensor_of(array), torch.as_tensor(levels, dtype=self._level_type)
        with CUDA_LOCK, torch.cuda.device(self._device):
            made = self._run(*given)
            if self._half and not np.isfinite(made).all():
                self._half = False
                self._graphs.clear()
                made = self._run(*given)
        return made

    def _run(self, rows: torch.Tensor, levels: torch.Tensor) -> Array:
        if 0 < len(rows) <= self._graphed_rows:
            graph = self._graph_for(rows, levels)
            if graph is not None:
                return graph(rows, levels)
        return self._in_parts(rows, levels)

    def _on_device(self, *given: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda", torch.float16, enabled=self._half, cache_enabled=False):
            made: torch.Tensor = self._module(*given)
        return (made.float() if made.is_floating_point() else made).contiguous()

    def _graph_for(self, rows: torch.Tensor, levels: torch.Tensor) -> "_CudaGraph | None":
        """One that takes so many rows; None if it cannot be made, as where memory is short."""
        count = min(1 << (len(rows) - 1).bit_length(), self._graphed_rows)
        key = count, rows.dtype
        if key not in self._graphs:
            try:
                self._graphs[key] = _CudaGraph(
                    self._on_device, (rows, levels), count, self._graphing, self._pool
                )
            except RuntimeError as exc:
                self._graphed_rows = 0  # once is enough: it works without
                _LOGGER.warning("small batches go without a CUDA graph: %s", exc)
        return self._graphs.get(key)

    def _in_parts(self, rows: torch.Tensor, levels: torch.Tensor) -> Array:
        is_large = len(rows) > _GRAPHED_ROWS or rows.nbytes >= _OVERLAPPED_BYTES
        parts = _PARTS if is_large else 1
        computing = torch.cuda.current_stream()
        held, hosts = [], []  # until all is done: other streams than a tensor's own use it
        for part in zip(rows.chunk(parts), levels.chunk(parts), strict=True):
            with torch.cuda.stream(self._copying):
                given = [one.pin_memory().to(self._device, non_blocking=True) for one in part]
            computing.wait_stream(self._copying)
            made = self._on_device(*given)
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


class _CudaGraph:
    """A module's kernels for batches of up to so many rows, launched at once (CUDA Graphs).

    Graphs of one pool share memory: what one puts out is to be read before another runs.
    """

    def __init__(
        self,
        module: Callable[..., torch.Tensor],
        like: Sequence[torch.Tensor],
        count: int,
        stream: torch.cuda.Stream,
        pool: Any,
    ) -> None:
        self._stream = stream
        self._hosts = [
            torch.zeros((count, *one.shape[1:]), dtype=one.dtype).pin_memory() for one in like
        ]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._inputs = [host.to(stream.device) for host in self._hosts]
            for _ in range(_TRIALS):
                made = module(*self._inputs)
        stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(
            self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"
        ):
            self._output = module(*self._inputs)
        self._host = torch.empty(made.shape, dtype=made.dtype, pin_memory=True)

    def __call__(self, *given: torch.Tensor) -> Array:
        """The output of as many rows as are given; the others are what was there before."""
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


def _leave_tensor_float_32() -> None:
    """Make PyTorch multiply float32 as such. For the whole process: it has no other scope."""
    cudnn: Any = torch.backends.cudnn
    cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    # These outlast ``torch.backends.fp32_precision``, which another part of the process may set.
    cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = "ieee"
