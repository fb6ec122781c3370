"""Bjontegaard delta rate: how many more bytes a codec takes than another at equal PSNR."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class RatePoint(NamedTuple):
    """One setting of a codec, in the mean over images."""

    bits_per_pixel: float
    psnr_db: float


class NoOverlapError(ValueError):
    """Two curves that cannot be compared; its text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BdRate:
    """A difference in rate, and the PSNR over which it is averaged."""

    percent: float
    """Negative where fewer bytes are taken than the anchor's."""
    low_db: float
    high_db: float


@dataclass(frozen=True, slots=True)
class Pchip:
    """A rising piecewise cubic through rising points.

    Fritsch and Butland, "A method for constructing local monotone piecewise cubic interpolants",
    1984: the inner slopes are weighted harmonic means of the neighbouring secants', those at the
    ends are of the parabola through three points, but at least 0.
    """

    x: Floats
    y: Floats
    slopes: Floats

    @classmethod
    def through(cls, x: Floats, y: Floats) -> Self:
        """Through at least two points, both coordinates strictly ascending."""
        return cls(x, y, _slopes(np.diff(x), np.diff(y) / np.diff(x)))

    def __call__(self, at: Floats) -> Floats:
        """Its values at points from the first knot to the last."""
        i = np.clip(np.searchsorted(self.x, at, side="right") - 1, 0, len(self.x) - 2)
        step = self.x[i + 1] - self.x[i]
        t = (at - self.x[i]) / step
        u = 1 - t
        values = u * u * (self.y[i] * (1 + 2 * t) + step * self.slopes[i] * t)
        values += t * t * (self.y[i + 1] * (1 + 2 * u) - step * self.slopes[i + 1] * u)
        return np.asarray(values)


def bd_rate(
    anchor: Sequence[RatePoint],
    curve: Sequence[RatePoint],
    *,
    bits_per_pixel: tuple[float, float],
) -> BdRate:
    """How many per cent more a codec's rate is than an anchor's, in the mean over the PSNR.

    Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001, with
    PCHIP for the logarithm of the rate over the PSNR, as the later common test conditions have it.
    The mean is over the PSNR that both curves reach and that the anchor has between the two rates
    ``bits_per_pixel``. Points that another one of their curve beats are left out. Raises
    NoOverlapError.
    """
    ours, theirs = _log_rates(curve, "its"), _log_rates(anchor, "the anchor's")
    ends = _ends(theirs, bits_per_pixel)
    low, high = max(ends[0], ours.x[0]), min(ends[1], ours.x[-1])
    if low >= high:
        raise NoOverlapError(
            f"its {ours.x[0]:.1f} to {ours.x[-1]:.1f} dB do not overlap the anchor's "
            f"{ends[0]:.1f} to {ends[1]:.1f} dB"
        )
    knots = np.unique(np.concatenate([ours.x, theirs.x, [low, high]]))
    knots = knots[(knots >= low) & (knots <= high)]
    middles = (knots[1:] + knots[:-1]) / 2
    at_knots, at_middles = ours(knots) - theirs(knots), ours(middles) - theirs(middles)
    # Between two knots both are cubic, and Simpson's rule is exact.
    pieces = np.diff(knots) / 6 * (at_knots[:-1] + 4 * at_middles + at_knots[1:])
    mean = pieces.sum() / (high - low)
    return BdRate(percent=float(100 * np.expm1(mean)), low_db=float(low), high_db=float(high))


def _log_rates(points: Sequence[RatePoint], whose: str) -> Pchip:
    """The logarithm of the rate over the PSNR, of the points that no other one beats."""
    best: list[RatePoint] = []
    for point in sorted(points, key=lambda p: (p.bits_per_pixel, -p.psnr_db)):
        if not best or point.psnr_db > best[-1].psnr_db:
            best.append(point)
    if len(best) < 2:
        raise NoOverlapError(f"{whose} settings make no curve: at least two are needed")
    rates, psnrs = np.array(best).T
    return Pchip.through(psnrs, np.log(rates))


def _ends(anchor: Pchip, bits_per_pixel: tuple[float, float]) -> tuple[float, float]:
    """The PSNR of an anchor at the ends of a range of rates, as far as it goes."""
    low, high = np.log(bits_per_pixel)
    if anchor.y[0] >= high or anchor.y[-1] <= low:
        least, most = np.exp(anchor.y[[0, -1]])
        raise NoOverlapError(
            f"the anchor takes {least:.2f} to {most:.2f} bits a pixel, not "
            f"{bits_per_pixel[0]} to {bits_per_pixel[1]}"
        )
    at = np.clip([low, high], anchor.y[0], anchor.y[-1])
    first, last = Pchip.through(anchor.y, anchor.x)(at)
    return first, last


def _slopes(steps: Floats, secants: Floats) -> Floats:
    if len(secants) == 1:
        return np.repeat(secants, 2)
    left, right = 2 * steps[1:] + steps[:-1], steps[1:] + 2 * steps[:-1]
    inner = (left + right) / (left / secants[:-1] + right / secants[1:])
    first = _end_slope(steps[0], steps[1], secants[0], secants[1])
    last = _end_slope(steps[-1], steps[-2], secants[-1], secants[-2])
    return np.concatenate([[first], inner, [last]])


def _end_slope(step: float, next_step: float, secant: float, next_secant: float) -> float:
    slope = ((2 * step + next_step) * secant - step * next_secant) / (step + next_step)
    return max(0.0, slope)
