"""ONNX Runtime and OpenVINO against PyTorch, the reference."""

import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from kompakt_codec.models import MODELS, ImageSpec, TransformModel, build_model
from kompakt_codec.transforms import CpuTransforms, TorchTransforms
from tests.training.helpers import TINY

CPU = torch.device("cpu")


def random_model(name: str, spec: ImageSpec) -> TransformModel:
    torch.manual_seed(1)
    model = build_model(name, spec, TINY.get(name, {"width": 4, "latents": 6}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


def levels_of(model: TransformModel, count: int) -> np.ndarray:
    """Of models that have levels between two, some of those."""
    levels = np.arange(count) % model.levels
    is_between = model.level_type.is_floating_point and model.levels > 1
    return (levels * (model.levels - 1) / model.levels) // 0.125 * 0.125 if is_between else levels


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("name", MODELS)
def test_both_give_the_same_to_the_last_bits(name, count):
    spec = ImageSpec(height=16, width=24, channels=1)
    model = random_model(name, spec)
    images = np.random.default_rng(2).integers(0, 256, (count, 16, 24, 1), np.uint8)
    check_same(model, spec, images)


def test_a_large_batch_goes_in_parts(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr("kompakt_codec.transforms._PART_PIXELS", 3 * 16 * 24)
    spec = ImageSpec(height=16, width=24, channels=1)
    model = random_model("context", spec)
    images = np.random.default_rng(4).integers(0, 256, (8, 16, 24, 1), np.uint8)
    check_same(model, spec, images)

    transforms = CpuTransforms(model, spec)
    session, sizes = transforms._analysis._session, []

    class Counted:
        def run(self, names, feeds):
            sizes.append([len(feed) for feed in feeds.values()])
            return session.run(names, feeds)

    transforms._analysis._session = Counted()
    transforms.analyse(images, levels_of(model, 8))
    assert sizes == [[3, 3], [3, 3], [2, 2]]


@pytest.mark.parametrize("size", [(8, 8), (13, 21), (64, 9), (40, 136), (203, 331)])
@pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name].any_size])
def test_models_of_any_size_take_any_size(name, size):
    spec = ImageSpec(height=16, width=16, channels=3)
    model = random_model(name, spec)
    images = np.random.default_rng(3).integers(0, 256, (3, *size, 3), np.uint8)
    check_same(model, spec, images)


def check_same(model: TransformModel, spec: ImageSpec, images: np.ndarray) -> None:
    levels = levels_of(model, len(images))
    fast, reference = CpuTransforms(model, spec), TorchTransforms(model, CPU)
    y, expected = fast.analyse(images, levels), reference.analyse(images, levels)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    symbols = np.clip(np.rint(expected), -40, 40).astype(np.int16)
    decoded, pixels = fast.synthesise(symbols, levels), reference.synthesise(symbols, levels)
    assert decoded.dtype == np.uint8
    assert decoded.shape == pixels.shape
    assert np.abs(decoded.astype(int) - pixels).max() <= 1


@pytest.mark.parametrize(("name", "side"), [("ae", 8), ("hyperprior", 64)])
def test_another_thread_may_use_them_at_the_same_time(name, side):
    spec = ImageSpec(height=side, width=side, channels=1)
    model = random_model(name, spec)
    fast = CpuTransforms(model, spec)
    images = np.random.default_rng(4).integers(0, 256, (64, side, side, 1), np.uint8)
    alone = fast.analyse(images, levels_of(model, 64))
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: fast.analyse(images, levels_of(model, 64)), range(32)))
    assert all(np.array_equal(one, alone) for one in made)


def test_several_threads_may_make_them_at_the_same_time():
    spec = ImageSpec(height=8, width=8, channels=1)
    model, filters = random_model("ae", spec), list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: CpuTransforms(model, spec), range(8)))
    images = np.random.default_rng(4).integers(0, 256, (1, 8, 8, 1), np.uint8)
    latents = [one.analyse(images, [0]) for one in made]
    assert all(np.array_equal(one, latents[0]) for one in latents)
    assert warnings.filters == filters


_MANY_SHAPES = """
import random
from pathlib import Path
import numpy as np
import torch
from kompakt_codec.codec import Codec
from kompakt_service.settings import DEFAULT_MODELS

def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

torch.set_num_threads(1)
codec, chosen = Codec.load(DEFAULT_MODELS / "photos.safetensors"), random.Random(0)
for number in range(90):
    size = chosen.randrange(256, 420), chosen.randrange(256, 420)
    image = np.zeros((1, *size, 3), np.uint8)
    codec.synthesise(codec.analyse(image, [9]), [9])
    if number == 20:
        before = resident()
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_every_other_size_takes_no_more_memory():
    command = [sys.executable, "-c", _MANY_SHAPES]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) < 60 << 20


_SIGNALLED = """
import gc, signal, threading
import numpy as np
import torch
from kompakt_codec.models import ImageSpec, build_model
from kompakt_codec.transforms import CpuTransforms

spec = ImageSpec(height=16, width=16, channels=1)
model = build_model("factorized", spec, {})
held = [CpuTransforms(model.eval().requires_grad_(False), spec)]
held[0].analyse(np.zeros((1, 320, 320, 1), np.uint8), np.zeros(1, np.int64))
drop = threading.Thread(target=lambda: (held.clear(), gc.collect()))
drop.start()
drop.join()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
signal.raise_signal(signal.SIGTERM)
"""


def test_a_model_that_another_thread_dropped_leaves_signals_alone():
    command = [sys.executable, "-c", _SIGNALLED]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "handled\n"


def test_the_runtimes_report_to_nobody(tmp_path):
    told = {"CI", "TF_BUILD", "JENKINS_URL", "XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY"}
    environment = {name: value for name, value in os.environ.items() if name not in told}
    command = [sys.executable, "-c", "import kompakt_codec.transforms"]
    subprocess.run(command, env={**environment, "HOME": str(tmp_path)}, check=True)
    # Each would begin with an identity for the reports from this machine.
    assert {path.name for path in tmp_path.rglob("*")} & {"deviceid", "openvino_ga_cid"} == set()
