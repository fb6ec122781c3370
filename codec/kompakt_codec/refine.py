"""A search for better latents than the analysis transform's own.

g_a guesses an image's latents at once; its quantised guess leaves a gap to the best ones (Yang et
al. 2020, "Improving Inference for Neural Image Compression"). What a decoder does is the same for
all.
"""

from typing import NamedTuple

import numpy as np
import torch

from kompakt_codec.context_coder import ContextEntropy
from kompakt_codec.entropy import Symbols
from kompakt_codec.models import RateModel, distortion_weights
from kompakt_codec.precision import reduced_precision

DISTORTION_SHARE = 0.6
"""Of the training's distortion weight. At one curve of rate and distortion it is a place on it:
most of what the search finds is taken as fewer bytes, the rest as less error."""
_SHORT_MOVE, _ALONG = 0.35, 0.25
"""Of trellis-coded latents, in steps: of one alone, whose neighbours change with it, and of the one
that moves furthest where all do."""
_LEAST = 1e-12
_BEYOND = 0.4
"""How far outside the outermost symbols a latent may start, in steps: a move brings it in."""


class Refiner:
    """Mends latents of a model by what they cost: rate plus weighted distortion.

    ``entropy`` is the model's own: what a symbol is, and an estimate of what it takes.
    """

    def __init__(self, model: RateModel, entropy: ContextEntropy, device: torch.device) -> None:
        # Convolutions' gradients are faster so.
        self._model = model.to(memory_format=torch.channels_last)
        self._entropy, self._prior = entropy, entropy.prior().to(device)
        step = entropy.quantiser.step
        self._dependent = torch.tensor(entropy.quantiser.dependent, device=device)
        self._moves = step * torch.where(self._dependent, _SHORT_MOVE, 1.0)
        self._bounds = step * (torch.tensor(entropy.max_symbols, device=device) + _BEYOND)

    def refine(self, x: torch.Tensor, y: torch.Tensor, level: torch.Tensor, steps: int) -> Symbols:
        """Quantise latents y (N, C, h, w) of images x, then mend each image's, ``steps`` times.

        Each step moves latents, quantises again, and goes on from there if the cost falls. Along a
        trellis all of them first follow the cost's gradient, for as long as that pays; then, and
        otherwise from the start, it is the one of which the gradient promises most. Of all that was
        tried, the symbols are those that cost least in whole bytes: estimated bits do not tell how
        much of the last byte stays empty.
        """
        distance, bound, together = (
            n[level][:, None, None, None] for n in (self._moves, self._bounds, self._dependent)
        )
        y = torch.clamp(y, -bound, bound)
        here = self._tried(x, y, level)
        tried = [here]
        failed = torch.zeros_like(y, dtype=torch.bool)
        for step in range(steps):
            error = (y - here.y_hat) / self._model.symbol_step
            chosen, direction = _best_move(error, here.gradient, failed)
            largest = here.gradient.abs().amax((1, 2, 3), keepdim=True).clamp(min=_LEAST)
            along = -_ALONG * self._model.symbol_step * here.gradient / largest
            moved = here.y + torch.where(together, along, distance * chosen * direction)
            there = self._tried(x, moved, level, gradient=step + 1 < steps)
            tried.append(there)
            better = (there.cost < here.cost)[:, None, None, None]
            failed = ~better & (failed | (chosen & ~together))
            together = together & better
            here = _Tried(*(_where(better, *pair) for pair in zip(there, here, strict=True)))
        return self._cheapest(tried, level)

    def _tried(
        self, x: torch.Tensor, y: torch.Tensor, level: torch.Tensor, *, gradient: bool = True
    ) -> "_Tried":
        symbols = self._entropy.quantise(y.cpu().numpy(), level.tolist())
        weight = DISTORTION_SHARE * distortion_weights(self._model.levels).to(x.device)[level]
        with torch.set_grad_enabled(gradient):
            y_hat = torch.from_numpy(symbols).to(y).requires_grad_(gradient)
            with reduced_precision(x.device):
                x_hat = self._model.synthesise(y_hat, level)
            error = weight * (x_hat.float() - x).square().flatten(1).sum(1)
            cost = self._prior.bits(y_hat, y_hat, level) + error
            slope = torch.zeros_like(y)
            if gradient:
                (slope,) = torch.autograd.grad(cost.sum(), y_hat)
        return _Tried(y, y_hat.detach(), error.detach(), cost.detach(), slope)

    def _cheapest(self, tried: "list[_Tried]", level: torch.Tensor) -> Symbols:
        levels, costs = level.tolist(), []
        rounds = [one.y_hat.cpu().numpy().astype(np.int16) for one in tried]
        for symbols, one in zip(rounds, tried, strict=True):
            lengths = np.array([len(payload) for payload in self._entropy.encode(symbols, levels)])
            costs.append(8 * lengths + one.error.cpu().numpy())
        best = np.argmin(costs, 0)
        cheapest: Symbols = np.stack(rounds)[best, np.arange(len(best))]
        return cheapest


class _Tried(NamedTuple):
    """Latents y, the symbols that they become, and what those cost."""

    y: torch.Tensor
    y_hat: torch.Tensor
    error: torch.Tensor
    """Weighted, in bits (N,)."""
    cost: torch.Tensor
    """Estimated bits and error (N,)."""
    gradient: torch.Tensor
    """Of the cost, or zeros."""


def _where(mask: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A's rows where the mask (N, 1, 1, 1) is set, and b's elsewhere."""
    return torch.where(mask.view(-1, *[1] * (a.ndim - 1)), a, b)


def _best_move(
    error: torch.Tensor, gradient: torch.Tensor, failed: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which latent of each image to move, as a mask of gradient's shape, and all directions, +-1.

    The promise of a move is the gradient's size, the more the further quantisation's ``error``, in
    steps, already goes there. What failed from here is not tried again.
    """
    direction = -torch.sign(gradient)
    nearness = 1 + (error * direction).clamp(-0.5, 0.5)
    promise = (gradient.abs() * nearness).masked_fill(failed, 0).flatten(1)
    chosen = torch.zeros_like(promise).scatter_(1, promise.argmax(1, keepdim=True), 1.0)
    return chosen.view_as(gradient).bool(), direction
