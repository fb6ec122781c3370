"""How g_a and g_s are run: by ONNX Runtime or OpenVINO on a CPU, by PyTorch on a GPU.

None decides how a stream is read. What they compute agrees nearly: an encoder may round a latent,
and a decoder a pixel, to its neighbour.
"""

import io
import math
import threading
import warnings
from functools import cache, cached_property, partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from kompakt_codec.cuda import CudaTransform
from kompakt_codec.entropy import Levels, Symbols
from kompakt_codec.images import Pixels
from kompakt_codec.models import ImageSpec, TransformModel
from kompakt_codec.runtimes import onnxruntime, openvino
from kompakt_codec.tensors import tensor_of

_OPSET = 17
MANY_PIXELS = 1 << 16
"""Of the images of a call: from so many on a model of any size runs on OpenVINO."""
_PART_PIXELS = 1 << 16
"""Of the images that ONNX Runtime is given at a time, for each thread: their features stay in its
core's cache."""
_OPENVINO = {
    "PERFORMANCE_HINT": "LATENCY",  # one call at a time: batches come from the service
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": False,  # worker processes would be pinned to the same cores
    "CPU_RUNTIME_CACHE_CAPACITY": 8,  # shapes: photographs have thousands, a few MiB each
}
_EXPORTING = threading.Lock()
"""torch.onnx exports one model at a time, and what is warned of is the process's."""

Latents = npt.NDArray[np.float32]


class Transforms(Protocol):
    """Both transforms of one model. May be called from several threads."""

    def analyse(self, images: Pixels, levels: Levels) -> Latents:
        """Uint8 images (N, height, width, channels) to latents (N, C, h, w), not rounded."""

    def synthesise(self, symbols: Symbols, levels: Levels) -> Pixels:
        """Symbols (N, C, h, w) to uint8 images (N, height, width, channels)."""


def make_transforms(model: TransformModel, spec: ImageSpec, device: torch.device) -> Transforms:
    """The fastest way to run a model, in evaluation mode, on a device that it lies on."""
    if device.type == "cpu":
        return CpuTransforms(model, spec)
    if device.type == "cuda":
        return CudaTransforms(model, spec, device)
    return TorchTransforms(model, device)


class TorchTransforms:
    """PyTorch as it is: the reference, on any device."""

    def __init__(self, model: TransformModel, device: torch.device) -> None:
        self._analysis, self._synthesis = _Analysis(model).eval(), _Synthesis(model).eval()
        self._device, self._level_type = device, model.level_type

    def analyse(self, images: Pixels, levels: Levels) -> Latents:
        """See ``Transforms``."""
        return self._run(self._analysis, images, levels)

    def synthesise(self, symbols: Symbols, levels: Levels) -> Pixels:
        """See ``Transforms``."""
        return self._run(self._synthesis, symbols, levels)

    @torch.inference_mode()
    def _run(self, module: nn.Module, array: npt.NDArray[Any], levels: Levels) -> npt.NDArray[Any]:
        inputs = tensor_of(array), torch.as_tensor(levels, dtype=self._level_type)
        output: torch.Tensor = module(*(tensor.to(self._device) for tensor in inputs))
        return output.contiguous().cpu().numpy()


class CudaTransforms:
    """Both transforms by PyTorch on a GPU; only what an encoder chooses may be half precise."""

    def __init__(self, model: TransformModel, spec: ImageSpec, device: torch.device) -> None:
        run = partial(
            CudaTransform,
            device=device,
            level_type=model.level_type,
            pixels=None if model.any_size else spec.height * spec.width,
        )
        self._analysis = run(_Analysis(model), half=model.half_analysis)
        self._synthesis = run(_Synthesis(model), half=False)

    def analyse(self, images: Pixels, levels: Levels) -> Latents:
        """See ``Transforms``."""
        return self._analysis(images, levels)

    def synthesise(self, symbols: Symbols, levels: Levels) -> Pixels:
        """See ``Transforms``."""
        return self._synthesis(symbols, levels)


class CpuTransforms:
    """The graphs of both transforms, with as many threads as PyTorch would take."""

    def __init__(self, model: TransformModel, spec: ImageSpec) -> None:
        images = torch.zeros(2, spec.height, spec.width, spec.channels, dtype=torch.uint8)
        shape = model.latent_shape_of((spec.height, spec.width))
        symbols = torch.zeros(2, *shape, dtype=torch.int16)
        sides = ((1, 2), (2, 3)) if model.any_size else ((), ())
        self._analysis = _OnnxGraph(_exported(_Analysis(model), images, sides[0]), model)
        self._synthesis = _OnnxGraph(_exported(_Synthesis(model), symbols, sides[1]), model)
        self._pixels_per_latent = math.prod(images.shape[1:3]) / math.prod(shape[1:])

    def analyse(self, images: Pixels, levels: Levels) -> Latents:
        """See ``Transforms``."""
        return self._analysis.run(images, levels, math.prod(images.shape[:3]))

    def synthesise(self, symbols: Symbols, levels: Levels) -> Pixels:
        """See ``Transforms``."""
        count, _, height, width = symbols.shape
        pixels = count * height * width * self._pixels_per_latent
        return self._synthesis.run(symbols, levels, pixels)


class _OnnxGraph:
    """A transform by the runtime that is faster for so many pixels: both compute the same.

    OpenVINO takes longer for a call and less for a pixel, most of all of large images. A model of
    one size, a small one, has no use for it.
    """

    def __init__(self, graph: bytes, model: TransformModel) -> None:
        threads = torch.get_num_threads()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Waiting threads that spin take the cores from the calls.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        # Some models have no levels.
        self._names = [node.name for node in self._session.get_inputs()]
        self._graph, self._threads = graph, threads
        self._many_pixels = MANY_PIXELS if model.any_size else math.inf
        self._level_type = np.float32 if model.level_type.is_floating_point else np.int64
        self._idle: SimpleQueue[openvino.InferRequest] = SimpleQueue()

    @cached_property
    def _compiled(self) -> openvino.CompiledModel:
        """At the first large call: it takes some tenths of a second."""
        core = _openvino()
        config = {**_OPENVINO, "INFERENCE_NUM_THREADS": self._threads}
        return core.compile_model(core.read_model(self._graph), "CPU", config)

    def run(self, array: npt.NDArray[Any], levels: Levels, pixels: float) -> npt.NDArray[Any]:
        """What the transform makes of the array, which stands for so many pixels."""
        given = {"input": array, "level": np.array(levels, self._level_type)}
        feeds = {name: given[name] for name in self._names}
        if pixels < self._many_pixels:
            return self._run_parts(feeds, pixels)
        try:
            request = self._idle.get_nowait()
        except Empty:  # each serves one thread
            request = self._compiled.create_infer_request()
        made: npt.NDArray[Any] = request.infer(feeds, share_inputs=True)[0]
        self._idle.put(request)
        return made

    def _run_parts(self, feeds: dict[str, npt.NDArray[Any]], pixels: float) -> npt.NDArray[Any]:
        count = len(feeds["input"])
        size = max(1, int(count * self._threads * _PART_PIXELS / pixels)) if pixels else 1
        made = [
            self._session.run(
                None, {name: feed[start : start + size] for name, feed in feeds.items()}
            )[0]
            for start in range(0, count, size) or (0,)
        ]
        output: npt.NDArray[Any] = made[0] if len(made) == 1 else np.concatenate(made)
        return output


@cache
def _openvino() -> openvino.Core:
    """The process's one, for good.

    Its CPU plugin gives a thread a signal stack when it is loaded and frees it when it is unloaded,
    maybe in another thread: the next signal would end the process.
    """
    return openvino.Core()


def _exported(
    module: "_Analysis | _Synthesis", example: torch.Tensor, sides: tuple[int, ...]
) -> bytes:
    """The graph for batches of any size; ``sides`` are the example's other axes of any length."""
    file = io.BytesIO()
    level = torch.zeros(len(example), dtype=module.model.level_type)
    axes = {0: "count", **{axis: f"side{axis}" for axis in sides}}
    with _EXPORTING, warnings.catch_warnings(), torch.no_grad():
        # The newer exporter needs two more packages and many times as long.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (example, level),
            file,  # type: ignore[arg-type]
            dynamo=False,
            input_names=["input", "level"],
            dynamic_axes={"input": axes, "level": {0: "count"}},
            opset_version=_OPSET,
        )
    return file.getvalue()


class _Analysis(nn.Module):
    def __init__(self, model: TransformModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return self.model.analyse(images.permute(0, 3, 1, 2).float() / 255, level)


class _Synthesis(nn.Module):
    def __init__(self, model: TransformModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, symbols: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        x_hat = self.model.synthesise(symbols.float(), level)
        pixels = (x_hat * 255).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1)
