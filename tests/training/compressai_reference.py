"""CompressAI's three models in plain PyTorch, with its names and shapes, from the papers."""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

PEDESTAL = 2.0**-36


class Gdn(nn.Module):
    """Parameters are roots, as in Ballé et al. 2016; buffers as CompressAI stores them."""

    def __init__(self, channels: int, *, inverse: bool) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.sqrt(0.5 + torch.rand(channels) + PEDESTAL))
        gamma = 0.1 * torch.eye(channels) + 0.02 * torch.rand(channels, channels)
        self.gamma = nn.Parameter(torch.sqrt(gamma + PEDESTAL))
        with torch.no_grad():
            self.beta[0] = self.gamma[0, 1] = -1.0  # below their bounds
        for name, least in (("beta", 1e-6), ("gamma", 0.0)):
            reparam, bound = nn.Module(), nn.Module()
            reparam.register_buffer("pedestal", torch.tensor([PEDESTAL]))
            bound.register_buffer("bound", torch.tensor([math.sqrt(least + PEDESTAL)]))
            reparam.lower_bound = bound
            setattr(self, f"{name}_reparam", reparam)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        beta = self.beta.clamp(min=math.sqrt(1e-6 + PEDESTAL)) ** 2 - PEDESTAL
        gamma = self.gamma.clamp(min=math.sqrt(PEDESTAL)) ** 2 - PEDESTAL
        norm = torch.einsum("ij,njhw->nihw", gamma, x**2) + beta[:, None, None]
        return x * norm.sqrt() if self.inverse else x / norm.sqrt()


class EntropyBottleneck(nn.Module):
    """A density for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.quantiles = nn.Parameter(torch.tensor([[[-9.0, 0.0, 9.0]]]).repeat(channels, 1, 1))
        with torch.no_grad():
            self.quantiles[:, 0, 1] = torch.rand(channels) - 0.5
        filters = (1, 3, 3, 3, 3, 1)
        self.matrices, self.biases, self.factors = (nn.ParameterList() for _ in range(3))
        for i in range(5):
            shape = channels, filters[i + 1], filters[i]
            start = math.log(math.expm1(1 / 10**0.2 / filters[i + 1]))
            self.matrices.append(nn.Parameter(start + 0.1 * torch.randn(shape)))
            self.biases.append(nn.Parameter(torch.rand(channels, filters[i + 1], 1) - 0.5))
            if i < 4:
                self.factors.append(nn.Parameter(0.3 * torch.randn(channels, filters[i + 1], 1)))
        for name in ("_offset", "_quantized_cdf", "_cdf_length"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.int32))
        self.register_buffer("target", torch.tensor([-21.0, 0.0, 21.0]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rounded x (N, C, h, w), and its information in bits (N,)."""
        medians = self.quantiles[:, 0, 1][:, None, None]
        rounded = torch.round(x - medians) + medians
        rows = rounded.double().transpose(0, 1).flatten(1)[:, None]
        mass = torch.sigmoid(self._logits(rows + 0.5)) - torch.sigmoid(self._logits(rows - 0.5))
        bits = -torch.log2(mass.clamp(min=1e-9)).reshape(x.shape[1], len(x), -1)
        return rounded, bits.sum((0, 2))

    def _logits(self, x: torch.Tensor) -> torch.Tensor:
        for i in range(5):
            x = functional.softplus(self.matrices[i].double()) @ x + self.biases[i].double()
            if i < 4:
                x = x + torch.tanh(self.factors[i].double()) * torch.tanh(x)
        return x


class Reference(nn.Module):
    """``bmshj2018-factorized``; the subclasses are the hyperpriors."""

    def __init__(self, n: int, m: int) -> None:
        super().__init__()
        self.n, self.m = n, m
        self.entropy_bottleneck = EntropyBottleneck(self.side)
        self.g_a = _layers(_down, (3, n, n, n, m), inverse=False)
        self.g_s = _layers(_up, (m, n, n, n, 3), inverse=True)
        with torch.no_grad():
            self.g_a[6].weight.mul_(8)

    @property
    def side(self) -> int:
        return self.m

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images x to x_hat, and bits (N,)."""
        y_hat, bits = self.entropy_bottleneck(self.g_a(x))
        return self.g_s(y_hat).clamp(0, 1), bits


class ScaleReference(Reference):
    """``bmshj2018-hyperprior``."""

    def __init__(self, n: int, m: int) -> None:
        super().__init__(n, m)
        act = self.activation
        first, second, outputs = self.sizes
        self.h_a = nn.Sequential(
            nn.Conv2d(m, n, 3, padding=1), act(), _down(n, n), act(), _down(n, n)
        )
        self.h_s = nn.Sequential(
            _up(n, first),
            act(),
            _up(first, second),
            act(),
            nn.Conv2d(second, outputs, 3, padding=1),
        )
        with torch.no_grad():
            self.h_a[4].weight.mul_(20)
            self.h_s[4].weight.mul_(3)
            self.h_s[4].bias[:m].add_(4)
        self.gaussian_conditional = nn.Module()
        self.gaussian_conditional.register_buffer("scale_table", torch.zeros(0))

    activation = nn.ReLU

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.n, self.n, self.m

    @property
    def side(self) -> int:
        return self.n

    def parameters_of(self, z_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scales = torch.relu(self.h_s(z_hat))
        return scales, torch.zeros_like(scales)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.g_a(x)
        z_hat, bits = self.entropy_bottleneck(self.h_a(self.seen(y)))
        scales, means = self.parameters_of(z_hat)
        rest = torch.round(y - means)
        normal = torch.distributions.Normal(0.0, scales.double().clamp(min=0.11))
        # Both edges below zero, so that small differences keep their digits.
        mass = normal.cdf(0.5 - rest.double().abs()) - normal.cdf(-0.5 - rest.double().abs())
        bits = bits - torch.log2(mass.clamp(min=1e-9)).flatten(1).sum(1)
        return self.g_s(rest + means).clamp(0, 1), bits

    def seen(self, y: torch.Tensor) -> torch.Tensor:
        return y.abs()


class MeanReference(ScaleReference):
    """``mbt2018-mean``."""

    activation = nn.LeakyReLU

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.m, self.m * 3 // 2, 2 * self.m

    def parameters_of(self, z_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scales, means = self.h_s(z_hat).chunk(2, 1)
        return scales, means

    def seen(self, y: torch.Tensor) -> torch.Tensor:
        return y


REFERENCES = {
    "bmshj2018-factorized": Reference,
    "bmshj2018-hyperprior": ScaleReference,
    "mbt2018-mean": MeanReference,
}


def make_reference(architecture: str, *, n: int = 6, m: int = 9, seed: int = 0) -> Reference:
    """An untrained model whose latents and scales are of every size."""
    torch.manual_seed(seed)
    return REFERENCES[architecture](n, m).eval().requires_grad_(False)


def _down(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 5, stride=2, padding=2)


def _up(inputs: int, outputs: int) -> nn.Module:
    return nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1)


def _layers(make, channels: tuple[int, ...], *, inverse: bool) -> nn.Sequential:
    made = []
    for inputs, outputs in pairwise(channels):
        made += [make(inputs, outputs), Gdn(outputs, inverse=inverse)]
    return nn.Sequential(*made[:-1])
