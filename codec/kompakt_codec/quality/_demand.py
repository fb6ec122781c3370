"""What can be demanded of a stream, and the error of what cannot be met."""

import enum
import math
from dataclasses import dataclass

from kompakt_codec.codec import Codec
from kompakt_codec.errors import CodecError
from kompakt_codec.metrics import psnr_db

GUARD = 2.0**-10
"""A model's MSE, and AVIF's, stays below a bound by this share, since another device, batch or
library may round a pixel to its neighbour (docs/format.md, "What is promised")."""


class QualityUnreachableError(CodecError):
    """No stream of the image meets the demand; the attributes tell the nearest that is met.

    ``size_bytes`` and ``mse`` are those of the nearest stream; with a bound on its distortion
    ``mse`` is more than that by the guard, so that it can be demanded.
    """

    reason = "QUALITY_UNREACHABLE"

    def __init__(self, demand: "Demand", size_bytes: int, mse: float) -> None:
        sure = mse * (1 + 2 * GUARD)  # is met when it is demanded
        quality = "no loss" if mse == 0 else f"an MSE of {mse:.6f} ({psnr_db(mse):.2f} dB)"
        if demand.max_bytes is not None:
            message = (
                f"no stream of this image fits into {demand.max_bytes} bytes: the smallest has "
                f"{size_bytes}, with {quality}"
            )
        elif demand.mse_bound == 0:
            message = (
                "no level of a model is lossless for sure on every device: allow the fallback; the "
                f"best has {quality} here, in {size_bytes} bytes"
            )
        else:
            message = (
                f"no level of the model reaches {demand} on this image: the best has {quality}, in "
                f"{size_bytes} bytes; allow the fallback, or ask for at most {_floor(sure):.2f} dB"
            )
        super().__init__(message)
        self.size_bytes = size_bytes
        self.mse = mse if demand.mse_bound is None else sure


def _floor(error: float) -> float:
    """The PSNR of an MSE in whole hundredths of a dB, rounded down."""
    return math.floor(100 * psnr_db(error)) / 100


class Fallback(enum.Enum):
    """Which classical codecs may take a model's place."""

    NEVER = enum.auto()
    BEST = enum.auto()
    """DEFLATE, PNG and WebP."""
    THOROUGH = enum.auto()
    """AVIF too, which takes seconds of a core for a photograph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What every stream has to be: one bound at most; without any, of the model's default level.

    Raises ValueError for a value out of range and for several bounds.
    """

    level: float | None = None
    """A rate level of the model."""
    min_psnr_db: float | None = None
    max_mse: float | None = None
    """On a scale from 0 to 1."""
    max_bytes: int | None = None
    """All framing included."""
    lossless: bool = False
    fallback: Fallback = Fallback.BEST

    def __post_init__(self) -> None:
        bounds = {
            "level": self.level,
            "min_psnr_db": self.min_psnr_db,
            "max_mse": self.max_mse,
            "max_bytes": self.max_bytes,
            "lossless": self.lossless or None,
        }
        given = {name: value for name, value in bounds.items() if value is not None}
        if len(given) > 1:
            raise ValueError(f"only one quality can be demanded, not {' and '.join(given)}")
        for name, value in given.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a finite number from 0, not {value}")
        if self.max_mse is not None and self.max_mse > 1:
            raise ValueError(f"max_mse is on a scale from 0 to 1, not {self.max_mse:g}")

    @property
    def mse_bound(self) -> float | None:
        """The greatest MSE that is allowed, if distortion is bounded."""
        if self.lossless:
            return 0.0
        if self.min_psnr_db is None:
            return self.max_mse
        bound = 10 ** (-self.min_psnr_db / 10)
        while psnr_db(bound) < self.min_psnr_db:  # rounding must not let a smaller PSNR pass
            bound = math.nextafter(bound, 0)
        return bound

    @property
    def falls_back(self) -> bool:
        """Whether any classical codec may take the model's place."""
        return self.fallback is not Fallback.NEVER

    def check_level(self, codec: Codec) -> None:
        """Raise ValueError if a model lacks the level that is demanded."""
        if self.level is not None and self.level not in codec.levels:
            name = codec.header.name
            raise ValueError(f"level must be {codec.levels} for {name}, not {self.level:g}")

    def __str__(self) -> str:
        if self.min_psnr_db is not None:
            return f"{self.min_psnr_db:g} dB"
        return "any quality" if self.max_mse is None else f"an MSE of {self.max_mse:g}"
