"""A demanded quality, met by what was really coded and decoded.

Only measured results are taken: the length of real frames, the MSE of real pixels.
"""

from kompakt_codec.quality._compress import (
    Contest,
    Made,
    compress_to,
    compress_with,
    open_contest,
)
from kompakt_codec.quality._demand import Demand, Fallback, QualityUnreachableError
from kompakt_codec.quality._engine import Engine, Size
from kompakt_codec.quality._warm_up import warm_up

__all__ = [
    "Contest",
    "Demand",
    "Engine",
    "Fallback",
    "Made",
    "QualityUnreachableError",
    "Size",
    "compress_to",
    "compress_with",
    "open_contest",
    "warm_up",
]
