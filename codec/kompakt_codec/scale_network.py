"""The network that tells scales from side information, in whole numbers (docs/format.md, "Scales").

Two convolutions that double height and width and one that keeps them, exact as docs/determinism.md
says. Numbers between the layers are in units of 2**-12; each layer's weights have a unit of their
own, as fine as 16 bits and exactness allow.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from kompakt_codec.entropy import Symbols, tensor_array
from kompakt_codec.errors import CheckpointError
from kompakt_codec.integer import Floats, round_shift
from kompakt_codec.integer_conv import IntegerConv, shuffle

UNIT_BITS = 12
LIMIT = 1 << 24
SLOPE_BITS = 20
MAX_WEIGHT_BITS = 24
_NUM_LAYERS = 3
_MAX_CHANNELS = 2048
_LARGEST_WEIGHT = (1 << 15) - 1
_EXACT = 2.0**51


@dataclass(frozen=True, kw_only=True)
class ScaleNetwork:
    """Scales (M, 4h, 4w) from z (S, h, w).

    ``layers`` have kernels of 3, the first two four times as many outputs as the next one inputs.
    ``bits`` are those behind the point of each layer's weights, ``slope`` the rectifier's below
    zero in units of 2**-20, ``offsets`` (S,) what z's symbol 0 stands for in units of 2**-12.
    Raises CheckpointError if they do not fit each other.
    """

    layers: Sequence[IntegerConv]
    bits: Sequence[int]
    slope: int
    offsets: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        if len(self.layers) != _NUM_LAYERS or len(self.bits) != _NUM_LAYERS:
            raise CheckpointError("the network of scales has three layers")
        if not all(1 <= bits <= MAX_WEIGHT_BITS for bits in self.bits):
            raise CheckpointError(f"weights have 1 to {MAX_WEIGHT_BITS} bits behind the point")
        if not 0 <= self.slope <= 1 << SLOPE_BITS:
            raise CheckpointError("the rectifier's slope is 0 to 1")
        first, second, last = (layer.weight.shape for layer in self.layers)
        sizes = (len(self.offsets), second[1], last[1], last[0])
        if not all(1 <= n <= _MAX_CHANNELS for n in sizes) or self.offsets.ndim != 1:
            raise CheckpointError("the network of scales has sizes out of range")
        expected = [(4 * sizes[1], sizes[0]), (4 * sizes[2], sizes[1]), (sizes[3], sizes[2])]
        if [first, second, last] != [(*shape, 3, 3) for shape in expected]:
            raise CheckpointError("the layers of the network of scales do not fit each other")
        if any(len(layer.shifts) != 1 for layer in self.layers):
            raise CheckpointError("the network of scales has one rate level")

    @classmethod
    def freeze(
        cls, layers: Sequence[tuple[Floats, Floats]], *, slope: float, medians: Floats
    ) -> Self:
        """The integers of float weights and biases.

        Weights are (in, out, 5, 5) of the two transposed convolutions of stride 2, padding 2 and
        output padding 1, (out, in, 3, 3) of the last. Raises CheckpointError if they are too large.
        """
        made, bits = [], []
        for index, (weight, bias) in enumerate(layers):
            is_last = index == _NUM_LAYERS - 1
            taps = weight if is_last else upsampling_taps(weight)
            bias = bias if is_last else np.repeat(bias, 4)
            fraction = _fraction_bits(taps, bias)
            made.append(
                IntegerConv(
                    weight=np.rint(taps * 2.0**fraction).astype(np.int16),
                    shifts=np.rint(bias * 2.0 ** (fraction + UNIT_BITS)).astype(np.int64)[None],
                    largest_input=LIMIT,
                )
            )
            bits.append(fraction)
        offsets = np.rint(np.clip(medians * 2.0**UNIT_BITS, -LIMIT, LIMIT)).astype(np.int32)
        return cls(layers=made, bits=bits, slope=round(slope * 2**SLOPE_BITS), offsets=offsets)

    @property
    def side_channels(self) -> int:
        """S of z."""
        return len(self.offsets)

    @property
    def channels(self) -> int:
        """M of the scales."""
        return len(self.layers[-1].weight)

    def __call__(self, z: Symbols) -> npt.NDArray[np.int64]:
        """Scales (N, M, 4h, 4w) in units of 2**-12, from z (N, S, h, w)."""
        levels = [0] * len(z)
        h = np.ascontiguousarray(z.transpose(0, 2, 3, 1), np.float64) * 2.0**UNIT_BITS
        h = np.clip(h + self.offsets, -LIMIT, LIMIT)
        for layer, bits in zip(self.layers[:-1], self.bits[:-1], strict=True):
            h = self._rectify(shuffle(round_shift(layer(h, levels), bits), 2))
        scales = round_shift(self.layers[-1](h, levels), self.bits[-1])
        return scales.transpose(0, 3, 1, 2).astype(np.int64)

    def _rectify(self, x: Floats) -> Floats:
        x = np.clip(x, -LIMIT, LIMIT)
        return np.where(x < 0, round_shift(x * self.slope, SLOPE_BITS), x)

    def to_bytes(self) -> bytes:
        """All of it in the order of the fingerprint (docs/format.md)."""
        parts = [struct.pack("<i", self.slope), self.offsets.astype("<i4").tobytes()]
        for layer, bits in zip(self.layers, self.bits, strict=True):
            parts.append(struct.pack("<4I", *layer.weight.shape[:3], bits))
            parts.append(layer.weight.astype("<i2").tobytes())
            parts.append(layer.shifts.astype("<i8").tobytes())
        return b"".join(parts)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint holds."""
        made = {
            "bits": torch.tensor(self.bits, dtype=torch.int32),
            "slope": torch.tensor([self.slope], dtype=torch.int32),
            "offsets": torch.from_numpy(self.offsets),
        }
        for index, layer in enumerate(self.layers):
            made[f"h_s.{index}.weight"] = torch.from_numpy(layer.weight)
            made[f"h_s.{index}.shifts"] = torch.from_numpy(layer.shifts)
        return made

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> Self:
        """The inverse of ``tensors``. Raises CheckpointError."""
        slope = tensor_array(tensors, "slope", torch.int32)
        bits = tensor_array(tensors, "bits", torch.int32)
        if slope.shape != (1,) or bits.shape != (_NUM_LAYERS,):
            raise CheckpointError("the network of scales has one slope and three layers' bits")
        layers = [
            IntegerConv(
                weight=tensor_array(tensors, f"h_s.{index}.weight", torch.int16),
                shifts=tensor_array(tensors, f"h_s.{index}.shifts", torch.int64),
                largest_input=LIMIT,
            )
            for index in range(_NUM_LAYERS)
        ]
        offsets = tensor_array(tensors, "offsets", torch.int32)
        return cls(layers=layers, bits=bits.tolist(), slope=int(slope[0]), offsets=offsets)


def upsampling_taps(weight: Floats) -> Floats:
    """A transposed convolution of 5x5 and stride 2 as one of 3x3 whose outputs are then shuffled.

    (in, out, 5, 5) to (4 out, in, 3, 3). Output 2 r + i sees input r + d, d from -1 to 1, through
    the kernel's place 2 + i - 2 d, where there is one.
    """
    inputs, outputs = weight.shape[:2]
    taps = np.zeros((outputs, 2, 2, inputs, 3, 3))
    for i, j, a, b in np.ndindex(2, 2, 3, 3):
        row, column = 4 + i - 2 * a, 4 + j - 2 * b
        if row < weight.shape[2] and column < weight.shape[3]:
            taps[:, i, j, :, a, b] = weight[:, :, row, column].T
    return taps.reshape(4 * outputs, inputs, 3, 3)


def _fraction_bits(taps: Floats, bias: Floats) -> int:
    """As many as leave the weights in 16 bits and every sum exact."""
    largest = np.abs(taps).max()
    total = np.abs(taps).reshape(len(taps), -1).sum(1).max() * LIMIT
    total += np.abs(bias).max() * 2.0**UNIT_BITS
    slack = taps[0].size * LIMIT  # what rounding may add to the weights
    for bits in range(MAX_WEIGHT_BITS, 0, -1):
        scale = 2.0**bits
        if largest * scale <= _LARGEST_WEIGHT and total * scale + slack < _EXACT:
            return bits
    raise CheckpointError("the entropy network's weights are too large to be exact")
