"""What runs on a GPU: on one if there is one, and on any machine with stand-ins for CUDA."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kompakt_codec import cuda
from kompakt_codec.cuda import CudaTransform
from kompakt_codec.models import MODELS, ImageSpec
from kompakt_codec.transforms import CudaTransforms, TorchTransforms
from tests.codec.test_transforms import levels_of, random_model

SPEC = ImageSpec(height=16, width=24, channels=1)
CPU = torch.device("cpu")


class StandInStream:
    def __init__(self, device=None):
        self.device = device

    def wait_stream(self, other):
        assert isinstance(other, StandInStream)

    def record_event(self):
        return self

    def synchronize(self):
        pass


class StandInGraph(TorchDispatchMode):
    """Records operations and does them again on the same tensors, as CUDA's graphs do."""

    captured = 0

    def __init__(self):
        super().__init__()
        self._calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self._calls.append((func, args, kwargs or {}, made))
        return made

    def replay(self):
        for func, args, kwargs, made in self._calls:
            again = func(*args, **kwargs)
            several = isinstance(made, (tuple, list))
            pairs = zip(made, again, strict=True) if several else [(made, again)]
            for old, new in pairs:
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


@contextlib.contextmanager
def stand_in_capture(graph, *, stream, capture_error_mode):
    assert isinstance(stream, StandInStream)
    assert capture_error_mode == "thread_local"
    StandInGraph.captured += 1
    with graph:
        yield


@pytest.fixture
def precisions(monkeypatch):
    """CUDA's calls done by the CPU; the list of whether each run was to be in half precision."""
    runs = []
    empty = torch.empty

    def unpinned(*shape, **kwargs):
        return empty(*shape, **{**kwargs, "pin_memory": False})

    def autocast(device, dtype, *, enabled, cache_enabled):
        assert (device, dtype, cache_enabled) == ("cuda", torch.float16, False)
        runs.append(enabled)
        return contextlib.nullcontext()

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self.clone())
    monkeypatch.setattr(torch, "empty", unpinned)
    monkeypatch.setattr(torch, "autocast", autocast)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    for name, stand_in in {
        "Stream": StandInStream,
        "current_stream": StandInStream,
        "stream": lambda _: contextlib.nullcontext(),
        "device": lambda _: contextlib.nullcontext(),
        "CUDAGraph": StandInGraph,
        "graph": stand_in_capture,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(StandInGraph, "captured", 0)
    return runs


def check(name: str, count: int, device: torch.device, *, tolerance: float) -> None:
    model = random_model(name, SPEC)
    images = np.random.default_rng(2).integers(0, 256, (count, 16, 24, 1), np.uint8)
    levels = levels_of(model, count)
    reference = TorchTransforms(model)
    y = reference.analyse(images, levels)
    symbols = np.clip(np.rint(y), -40, 40).astype(np.int16)
    pixels = reference.synthesise(symbols, levels)

    fast = CudaTransforms(model.to(device), device)
    for rows in (slice(count), slice(0, max(1, count // 2)), slice(count)):
        made = fast.analyse(images[rows], levels[rows])
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, y[rows], rtol=tolerance, atol=tolerance)
        decoded = fast.synthesise(symbols[rows], levels[rows])
        assert decoded.dtype == np.uint8
        assert decoded.shape == pixels[rows].shape
        assert np.abs(decoded.astype(int) - pixels[rows]).max() <= 1


@pytest.mark.parametrize("count", [1, 7, 65])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("precisions")
def test_stand_ins_give_what_the_reference_gives(monkeypatch, name, count):
    monkeypatch.setattr(cuda, "_OVERLAPPED_BYTES", 8 * 16 * 24)
    check(name, count, CPU, tolerance=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("count", [1, 7, 65, 3000])
@pytest.mark.parametrize("name", MODELS)
def test_a_gpu_gives_what_the_reference_gives(name, count):
    check(name, count, torch.device("cuda"), tolerance=2e-2)


def test_small_batches_of_a_power_of_two_share_a_graph(precisions):
    model = random_model("context", SPEC)
    fast = CudaTransforms(model, CPU)
    images = np.random.default_rng(3).integers(0, 256, (64, 16, 24, 1), np.uint8)
    for count in (5, 6, 7, 8, 5):
        fast.analyse(images[:count], levels_of(model, count))
    assert StandInGraph.captured == 1
    fast.analyse(images, levels_of(model, 64))
    fast.analyse(images[:9], levels_of(model, 9))
    assert StandInGraph.captured == 3
    assert all(precisions)


def test_only_analysis_is_half_precise_and_not_where_squares_are_taken(precisions):
    for name in MODELS:
        model = random_model(name, SPEC)
        fast = CudaTransforms(model, CPU)
        y = fast.analyse(np.zeros((65, 16, 24, 1), np.uint8), levels_of(model, 65))
        fast.synthesise(np.zeros(y.shape, np.int16), levels_of(model, 65))
        assert precisions == [not name.startswith("gdn"), False]
        precisions.clear()
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("count", [4, 65])
def test_what_leaves_the_range_of_half_is_computed_again(precisions, count):
    class Overflowing(torch.nn.Module):
        def forward(self, rows, levels):
            return rows.float() * (np.inf if precisions[-1] else 2.0) + levels[:, None]

    run = CudaTransform(Overflowing(), CPU, level_type=torch.float32, is_one_size=True, half=True)
    rows = np.arange(1, 3 * count + 1, dtype=np.int16).reshape(count, 3)
    np.testing.assert_array_equal(run(rows, [1.0] * count), rows * 2.0 + 1)


def test_threads_take_turns_at_a_graph(precisions):
    model = random_model("ae", SPEC)
    fast = CudaTransforms(model, CPU)
    images = np.random.default_rng(4).integers(0, 256, (32, 16, 24, 1), np.uint8)
    alone = [fast.analyse(image[None], [0]) for image in images]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda image: fast.analyse(image[None], [0]), images))
    assert all(np.array_equal(*pair) for pair in zip(made, alone, strict=True))
    assert precisions
