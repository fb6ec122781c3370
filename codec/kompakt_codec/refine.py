"""A search for better latents than the analysis transform's own.

g_a guesses an image's latents at once; its rounded guess leaves a gap to the best ones (Yang et al.
2020, "Improving Inference for Neural Image Compression"). What a decoder does is the same for all.
"""

import torch

from kompakt_codec.models import Prior, RateModel, distortion_weights
from kompakt_codec.precision import reduced_precision

DISTORTION_SHARE = 0.5
"""Of the training's distortion weight. At one curve of rate and distortion it is a place on it:
most of what the search finds is taken as fewer bytes, the rest as less error."""


class Refiner:
    """Mends latents of a model by what they cost: rate plus weighted distortion.

    ``prior`` estimates the rate; ``bounds`` (levels,) holds each level's largest symbol.
    """

    def __init__(self, model: RateModel, prior: Prior, bounds: torch.Tensor) -> None:
        # Convolutions' gradients are faster so.
        self._model = model.to(memory_format=torch.channels_last)
        self._prior, self._bounds = prior, bounds

    def refine(
        self, x: torch.Tensor, y: torch.Tensor, level: torch.Tensor, steps: int
    ) -> torch.Tensor:
        """Round latents y (N, C, h, w) of images x, then move one of each image, ``steps`` times.

        Each step moves the latent for which the cost's gradient promises most to its neighbour, and
        keeps the move if the cost falls.
        """
        bound = self._bounds[level][:, None, None, None]
        y_hat = torch.round(y).clamp(-bound, bound)
        cost, gradient = self._cost(x, y_hat, level)
        failed = torch.zeros_like(y_hat, dtype=torch.bool)
        for step in range(steps):
            chosen, direction = _best_move(y, y_hat, gradient, failed)
            moved = (y_hat + chosen * direction).clamp(-bound, bound)
            new_cost, new_gradient = self._cost(x, moved, level, gradient=step + 1 < steps)
            better = (new_cost < cost)[:, None, None, None]
            failed = ~better & (failed | chosen)
            y_hat, gradient = (
                torch.where(better, new, old)
                for new, old in ((moved, y_hat), (new_gradient, gradient))
            )
            cost = torch.minimum(cost, new_cost)
        return y_hat

    def _cost(
        self, x: torch.Tensor, y_hat: torch.Tensor, level: torch.Tensor, *, gradient: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Bits plus weighted squared error (N,) of each image, and its gradient or zeros."""
        weight = DISTORTION_SHARE * distortion_weights(self._model.levels).to(x.device)[level]
        with torch.set_grad_enabled(gradient):
            y_hat = y_hat.detach().clone().requires_grad_(gradient)
            with reduced_precision(x.device):
                x_hat = self._model.synthesise(y_hat, level)
            cost = self._prior.bits(y_hat, y_hat, level)
            cost = cost + weight * (x_hat.float() - x).square().flatten(1).sum(1)
            if not gradient:
                return cost, torch.zeros_like(y_hat)
            return cost.detach(), torch.autograd.grad(cost.sum(), y_hat)[0]


def _best_move(
    y: torch.Tensor, y_hat: torch.Tensor, gradient: torch.Tensor, failed: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which latent of each image to move, as a mask of y_hat's shape, and all directions, +-1.

    The promise of a move is the gradient's size, the more the nearer the unrounded latent is. What
    failed from here is not tried again.
    """
    direction = -torch.sign(gradient)
    nearness = 1 + ((y - y_hat) * direction).clamp(-0.5, 0.5)
    promise = (gradient.abs() * nearness).masked_fill(failed, 0).flatten(1)
    chosen = torch.zeros_like(promise).scatter_(1, promise.argmax(1, keepdim=True), 1.0)
    return chosen.view_as(y_hat).bool(), direction
