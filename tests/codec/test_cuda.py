"""What runs on a GPU: on one if there is one, and on any machine with stand-ins for CUDA."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

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
    """Notes what it is asked for, as "stream: call"."""

    count = 0
    notes: ClassVar[list[str]] = []

    def __init__(self, device=CPU):
        self.device = device
        self.name = f"s{StandInStream.count}"
        StandInStream.count += 1

    def wait_stream(self, other):
        self.notes.append(f"{self.name}: wait for {other.name}")

    def record_event(self):
        return self

    def synchronize(self):
        self.notes.append(f"{self.name}: synchronize")


class StandInGraph(TorchDispatchMode):
    """Records operations and does them again on the same tensors, as CUDA's graphs do."""

    captured = 0
    fails = False

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
def stand_in_capture(graph, *, pool, stream, capture_error_mode):
    assert pool == "pool"
    assert isinstance(stream, StandInStream)
    if StandInGraph.fails:
        raise RuntimeError("out of memory")
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
    computing = StandInStream()
    computing.name = "computing"
    monkeypatch.setattr(StandInStream, "count", 0)
    monkeypatch.setattr(StandInStream, "notes", [])
    for name, stand_in in {
        "Stream": StandInStream,
        "current_stream": lambda: computing,
        "graph_pool_handle": lambda: "pool",
        "stream": lambda _: contextlib.nullcontext(),
        "device": lambda _: contextlib.nullcontext(),
        "CUDAGraph": StandInGraph,
        "graph": stand_in_capture,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(StandInGraph, "captured", 0)
    monkeypatch.setattr(StandInGraph, "fails", False)
    return runs


def check(name: str, count: int, device: torch.device, *, tolerance: float) -> None:
    model = random_model(name, SPEC)
    images = np.random.default_rng(2).integers(0, 256, (count, 16, 24, 1), np.uint8)
    levels = levels_of(model, count)
    reference = TorchTransforms(model, CPU)
    y = reference.analyse(images, levels)
    symbols = np.clip(np.rint(y), -40, 40).astype(np.int16)
    pixels = reference.synthesise(symbols, levels)

    fast = CudaTransforms(model.to(device), SPEC, device)
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
    fast = CudaTransforms(model, SPEC, CPU)
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
        fast = CudaTransforms(model, SPEC, CPU)
        y = fast.analyse(np.zeros((65, 16, 24, 1), np.uint8), levels_of(model, 65))
        fast.synthesise(np.zeros(y.shape, np.int16), levels_of(model, 65))
        assert precisions == 4 * [not name.startswith("gdn")] + 4 * [False]
        precisions.clear()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


class Doubled(torch.nn.Module):
    """Rows of numbers times two, in half precision times ``half``."""

    def __init__(self, precisions, half):
        super().__init__()
        self.precisions, self.half = precisions, half

    def forward(self, rows, levels):
        StandInStream.notes.append(f"compute {len(rows)}")
        return rows.float() * (self.half if self.precisions[-1] else 2.0) + levels[:, None]


def doubled(precisions, half=2.0, **kwargs):
    kwargs = {"pixels": 1, "half": True, **kwargs}
    return CudaTransform(Doubled(precisions, half), CPU, level_type=torch.float32, **kwargs)


def rows_of(count):
    return np.arange(1, 3 * count + 1, dtype=np.int16).reshape(count, 3)


@pytest.mark.parametrize("count", [4, 65])
def test_what_leaves_the_range_of_half_is_computed_again(precisions, count):
    run, rows = doubled(precisions, half=np.inf), rows_of(count)
    np.testing.assert_array_equal(run(rows, [1.0] * count), rows * 2.0 + 1)
    precisions.clear()
    run(rows, [1.0] * count)
    assert not any(precisions)


def test_parts_are_copied_beside_compute_and_waited_for(precisions):
    run, rows = doubled(precisions), rows_of(66)
    made = run(rows, np.arange(66))
    np.testing.assert_array_equal(made, rows * 2.0 + np.arange(66)[:, None])
    part = ["computing: wait for s0", "compute 17", "s1: wait for computing"]
    last = ["computing: wait for s0", "compute 15", "s1: wait for computing"]
    assert StandInStream.notes == 3 * part + last + 4 * ["s1: synchronize"]


def test_many_bytes_go_in_parts_too(monkeypatch, precisions):
    monkeypatch.setattr(cuda, "_OVERLAPPED_BYTES", 48)
    run = doubled(precisions, pixels=None)
    for count, parts in ((7, 1), (8, 4)):
        StandInStream.notes.clear()
        run(rows_of(count), np.arange(count))
        assert sum(note.startswith("compute") for note in StandInStream.notes) == parts


def test_a_graph_is_waited_for(precisions):
    run, rows = doubled(precisions), rows_of(3)
    run(rows, np.arange(3))
    StandInStream.notes.clear()
    np.testing.assert_array_equal(run(rows, np.zeros(3)), rows * 2.0)
    assert StandInStream.notes == ["s2: synchronize"]


def test_graphs_are_for_batches_of_few_pixels(precisions):
    for pixels, count, graphs in ((1 << 18, 1, 1), (1 << 16, 3, 1), (1 << 16, 5, 0), (None, 1, 0)):
        StandInGraph.captured = 0
        run, rows = doubled(precisions, pixels=pixels), rows_of(count)
        np.testing.assert_array_equal(run(rows, np.zeros(count)), rows * 2.0)
        assert StandInGraph.captured == graphs


def test_it_works_where_no_graph_can_be_made(monkeypatch, precisions, caplog):
    monkeypatch.setattr(StandInGraph, "fails", True)
    run, rows = doubled(precisions), rows_of(3)
    for _ in range(2):
        np.testing.assert_array_equal(run(rows, np.zeros(3)), rows * 2.0)
    assert [record.message for record in caplog.records] == [
        "small batches go without a CUDA graph: out of memory"
    ]


def test_any_array_is_taken(precisions):
    rows = rows_of(8)[::-2, ::-1]
    rows.flags.writeable = False
    for run in (doubled(precisions), doubled(precisions, pixels=None)):
        np.testing.assert_array_equal(run(rows, np.zeros(4)), rows * 2.0)


def test_threads_take_turns_at_a_graph(precisions):
    model = random_model("ae", SPEC)
    fast = CudaTransforms(model, SPEC, CPU)
    images = np.random.default_rng(4).integers(0, 256, (32, 16, 24, 1), np.uint8)
    alone = [fast.analyse(image[None], [0]) for image in images]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda image: fast.analyse(image[None], [0]), images))
    assert all(np.array_equal(*pair) for pair in zip(made, alone, strict=True))
    assert precisions
