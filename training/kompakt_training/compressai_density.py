"""CompressAI's probabilities in floating point: what its tables are frozen from and held to."""

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from kompakt_codec.entropy import EntropyTables, Symbols, frequencies_from_counts
from kompakt_codec.models.gdn_hyperprior import LEAKY_SLOPE, SIDE_REACH
from kompakt_training.compressai_names import MEAN
from kompakt_training.compressai_state import FILTERS, CompressaiState

LEAST_SCALE, LARGEST_SCALE, NUM_SCALES = 0.11, 256.0, 64
"""CompressAI's table of scales."""
_MOST_REACH = 2047
_COUNT_BITS = 36
_LEAST_PROBABILITY = 1e-9

Floats = npt.NDArray[np.float64]


class Rate(Protocol):
    """What a float model says that symbols cost."""

    def bits(self, symbols: Symbols) -> Floats:
        """Information in bits (N,) of symbols (N, C, h, w)."""


class Density:
    """A density for each of C channels (Ballé et al. 2018, appendix 6.1), float64.

    It is the derivative of a cumulative: a small network, made monotone, and the logistic function.
    """

    def __init__(self, state: CompressaiState) -> None:
        def part(name: str) -> torch.Tensor:
            return state[f"entropy_bottleneck.{name}"].double()

        layers = range(len(FILTERS) - 1)
        self._matrices = [functional.softplus(part(f"matrices.{i}")) for i in layers]
        self._biases = [part(f"biases.{i}") for i in layers]
        self._factors = [torch.tanh(part(f"factors.{i}")) for i in layers[:-1]]
        self.quantiles = part("quantiles")[:, 0]
        """The lower tail's end, the median and the upper tail's end, (C, 3)."""
        self.medians = self.quantiles[:, 1]

    def bits(self, symbols: Symbols) -> Floats:
        """Information in bits (N,) of whole distances (N, C, h, w) from the medians."""
        n, channels = symbols.shape[:2]
        values = torch.from_numpy(symbols).double().transpose(0, 1).reshape(channels, -1)
        probability = self._probability(values + self.medians[:, None])
        cost = -torch.log2(probability.clamp(min=_LEAST_PROBABILITY))
        return cost.reshape(channels, n, -1).sum((0, 2)).numpy()

    def tables(self, *, least_reach: int, is_fixed: bool = False) -> EntropyTables:
        """The integer tables of distances from the medians, for any height and width.

        They go ``least_reach`` to both sides and, unless that ``is_fixed``, twice as far as the
        tails' ends. The first and the last symbol stand for all beyond.
        """
        distances = (self.quantiles - self.medians[:, None]).numpy()
        minimums, frequencies = [], []
        for channel, (low, _, high) in enumerate(distances):
            reaches = [least_reach, least_reach]
            if not is_fixed:
                wanted = (int(min(abs(2 * end), _MOST_REACH)) for end in (low, high))
                reaches = [max(least_reach, reach) for reach in wanted]
            minimums.append(-reaches[0])
            frequencies.append(self._frequencies(channel, -reaches[0], reaches[1]))
        return EntropyTables(
            shape=(len(minimums), 1, 1), minimums=minimums, frequencies=frequencies
        )

    def _frequencies(self, channel: int, low: int, high: int) -> npt.NDArray[np.uint32]:
        edges = torch.arange(low, high, dtype=torch.float64) + 0.5 + self.medians[channel]
        logits = self._logits(edges[None], slice(channel, channel + 1))[0]
        below, above = torch.sigmoid(logits), torch.sigmoid(-logits)
        # On each side the differences of what is small there, which keep their digits.
        inner = torch.where(logits[1:] < 0, below[1:] - below[:-1], above[:-1] - above[1:])
        mass = torch.cat([below[:1], inner, above[-1:]]).numpy()
        return frequencies_from_counts(np.rint(mass * 2.0**_COUNT_BITS).astype(np.int64))

    def _probability(self, values: torch.Tensor) -> torch.Tensor:
        lower, upper = (self._logits(values + half, slice(None)) for half in (-0.5, 0.5))
        sign = -torch.sign(lower + upper)
        return (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()

    def _logits(self, values: torch.Tensor, channels: slice) -> torch.Tensor:
        """Of the cumulative at values (C, n)."""
        h = values[:, None]
        for i, (matrix, bias) in enumerate(zip(self._matrices, self._biases, strict=True)):
            h = matrix[channels] @ h + bias[channels]
            if i < len(self._factors):
                h = h + self._factors[i][channels] * torch.tanh(h)
        return h[:, 0]


class HyperRate:
    """What CompressAI's hyperpriors say that symbols cost, in floating point."""

    def __init__(self, state: CompressaiState, density: Density) -> None:
        self._density = density
        self._num_folded = 16 * state.latents
        self._slope = LEAKY_SLOPE if state.architecture == MEAN else 0.0
        self._layers = scale_layers(state)

    @torch.no_grad()
    def bits(self, symbols: Symbols) -> Floats:
        """Information in bits (N,) of y and z together, as ``GdnHyperpriorModel`` has them."""
        y, z = (torch.from_numpy(part) for part in np.split(symbols, [self._num_folded], axis=1))
        y = functional.pixel_shuffle(y.double().abs(), 4)
        scales = self._scales(z.double() + self._density.medians[:, None, None])
        ends = ((half - y) / scales.clamp(min=LEAST_SCALE) for half in (0.5, -0.5))
        above, below = (torch.special.ndtr(end) for end in ends)
        cost = -torch.log2((above - below).clamp(min=_LEAST_PROBABILITY)).flatten(1).sum(1)
        total: Floats = cost.numpy() + self._density.bits(z.numpy())
        return total

    def _scales(self, z: torch.Tensor) -> torch.Tensor:
        h = z
        for weight, bias in self._layers[:2]:
            h = functional.conv_transpose2d(h, weight, bias, 2, padding=2, output_padding=1)
            h = functional.leaky_relu(h, self._slope)
        weight, bias = self._layers[2]
        return functional.conv2d(h, weight, bias, padding=1)


def scale_layers(state: CompressaiState) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weights and biases of h_s, float64, the last layer's for the scales alone."""
    names = ("h_s.0", "h_s.2", "h_s.4")
    layers = [(state[f"{n}.weight"].double(), state[f"{n}.bias"].double()) for n in names]
    weight, bias = layers[2]
    return [*layers[:2], (weight[: state.latents], bias[: state.latents])]


def side_tables(density: Density) -> EntropyTables:
    """Of a hyperprior's z: as far as ``GdnHyperpriorModel`` lets it go."""
    return density.tables(least_reach=SIDE_REACH, is_fixed=True)
