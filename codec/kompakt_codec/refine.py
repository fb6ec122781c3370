"""A search for better latents than the analysis transform's own.

g_a guesses an image's latents at once; its quantised guess leaves a gap to the best ones (Yang et
al. 2020, "Improving Inference for Neural Image Compression"). What a decoder does is the same for
all.
"""

import torch

from kompakt_codec.context_coder import ContextEntropy
from kompakt_codec.models import RateModel, distortion_weights
from kompakt_codec.precision import reduced_precision

DISTORTION_SHARE = 0.5
"""Of the training's distortion weight. At one curve of rate and distortion it is a place on it:
most of what the search finds is taken as fewer bytes, the rest as less error."""


_SHORT_MOVE = 0.35
"""Of a trellis-coded latent, in steps: the nearest path changes in its neighbours as well."""


class Refiner:
    """Mends latents of a model by what they cost: rate plus weighted distortion.

    ``entropy`` is the model's own: what a symbol is, and an estimate of what it takes.
    """

    def __init__(self, model: RateModel, entropy: ContextEntropy, device: torch.device) -> None:
        # Convolutions' gradients are faster so.
        self._model = model.to(memory_format=torch.channels_last)
        self._entropy, self._prior = entropy, entropy.prior().to(device)
        moves = [_SHORT_MOVE if is_one else 1.0 for is_one in entropy.quantiser.dependent]
        self._moves = entropy.quantiser.step * torch.tensor(moves, device=device)

    def refine(
        self, x: torch.Tensor, y: torch.Tensor, level: torch.Tensor, steps: int
    ) -> torch.Tensor:
        """Quantise latents y (N, C, h, w) of images x, then mend each image's, ``steps`` times.

        Each step moves the latent for which the cost's gradient promises most, quantises again, and
        keeps what that gives if the cost falls.
        """
        distance = self._moves[level][:, None, None, None]
        y_hat = self._quantise(y, level)
        cost, gradient = self._cost(x, y_hat, level)
        failed = torch.zeros_like(y_hat, dtype=torch.bool)
        for step in range(steps):
            chosen, direction = _best_move((y - y_hat) / self._model.symbol_step, gradient, failed)
            moved = y + distance * chosen * direction
            new_hat = self._quantise(moved, level)
            new_cost, new_gradient = self._cost(x, new_hat, level, gradient=step + 1 < steps)
            better = (new_cost < cost)[:, None, None, None]
            failed = ~better & (failed | chosen)
            y, y_hat, gradient = (
                torch.where(better, new, old)
                for new, old in ((moved, y), (new_hat, y_hat), (new_gradient, gradient))
            )
            cost = torch.minimum(cost, new_cost)
        return y_hat

    def _quantise(self, y: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        symbols = self._entropy.quantise(y.cpu().numpy(), level.tolist())
        return torch.from_numpy(symbols).to(y)

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
