"""Images to whole symbols and back on a device: transforms, search and rounding, in tiles."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kompakt_codec.context_coder import ContextEntropy
from kompakt_codec.entropy import EntropyModel, Levels, Symbols
from kompakt_codec.images import Pixels
from kompakt_codec.models import ImageSpec, RateModel, TransformModel
from kompakt_codec.refine import Refiner
from kompakt_codec.tensors import tensor_of
from kompakt_codec.tiling import LARGEST_TILE, TRANSFORMED_TILE, Plane, by_tiles
from kompakt_codec.transforms import make_transforms


class QuantisedTransforms:
    """Both transforms of a model that lies on a device, with integers between them."""

    def __init__(
        self,
        model: TransformModel,
        entropy: EntropyModel,
        spec: ImageSpec,
        device: torch.device,
        effort: int,
    ) -> None:
        self._model, self._entropy, self._device, self._effort = model, entropy, device, effort
        self._channels = spec.channels
        self._transforms = make_transforms(model, spec, device)
        self._refiner: Refiner | None = None
        if effort and isinstance(entropy, ContextEntropy) and isinstance(model, RateModel):
            self._refiner = Refiner(model, entropy, device)
        # An image of a model of one size is a tile.
        most = LARGEST_TILE // model.stride
        self.largest_tile = most if model.any_size else max(model.latent_shape[1:])
        """Latents, along each side."""
        self._part = min(self.largest_tile, TRANSFORMED_TILE // model.stride)

    def analyse(self, images: Pixels, levels: Levels) -> Symbols:
        """Uint8 images (N, height, width, channels) to symbols (N, C, h, w)."""
        shape = self._model.latent_shape_of((images.shape[1], images.shape[2]))
        if max(shape[1:]) <= self.largest_tile:
            return self._analyse(images, levels)
        symbols = np.empty((len(images), *shape), np.int16)
        source, target = Plane(images, 1, self._model.stride), Plane(symbols, 2, 1)
        self._by_tiles(lambda part: self._analyse(part, levels), source, target, shape[1:])
        return symbols

    def synthesise(self, symbols: Symbols, levels: Levels) -> Pixels:
        """Symbols (N, C, h, w) to uint8 images (N, height, width, channels)."""
        size = symbols.shape[2:]
        if max(size) <= self.largest_tile:
            return self._synthesise(symbols, levels)
        stride = self._model.stride
        height, width = (n * stride for n in size)
        images = np.empty((len(symbols), height, width, self._channels), np.uint8)
        source, target = Plane(symbols, 2, 1), Plane(images, 1, stride)
        self._by_tiles(lambda part: self._synthesise(part, levels), source, target, size)
        return images

    def _by_tiles(
        self,
        transform: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
        source: Plane,
        target: Plane,
        size: Sequence[int],
    ) -> None:
        reach = self._model.reach
        by_tiles(transform, source, target, size, largest=self._part, reach=reach)

    def _analyse(self, images: Pixels, levels: Levels) -> Symbols:
        y = self._transforms.analyse(images, levels)
        if self._refiner is not None:
            return self._refined(self._refiner, images, y, levels)
        return self._entropy.quantise(y, levels)

    @torch.inference_mode(False)  # the search needs gradients, whatever the caller's mode
    @torch.no_grad()
    def _refined(
        self, refiner: Refiner, images: Pixels, y: npt.NDArray[np.float32], levels: Levels
    ) -> Symbols:
        x = tensor_of(images).to(self._device).permute(0, 3, 1, 2).float().div_(255)
        level = torch.as_tensor(levels, dtype=torch.int64, device=self._device)
        latents = torch.from_numpy(y).to(self._device)
        return refiner.refine(x, latents, level, self._effort)

    def _synthesise(self, symbols: Symbols, levels: Levels) -> Pixels:
        return self._transforms.synthesise(symbols, levels)
