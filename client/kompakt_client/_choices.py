"""The options of requests: what callers write, checked, and as the contract has it."""

from __future__ import annotations

from numbers import Integral, Rational, Real
from typing import Any, TypeVar

from kompakt.v1 import compression_pb2 as pb
from kompakt_client._names import BaselineName, Fallback, Fit, Format, Profile

_Name = TypeVar("_Name", bound=str)
_Value = TypeVar("_Value")

_KINDS = {Real: "number", Integral: "whole number"}
_MOST = 1 << 63
"""Of any quality: fields of the contract hold no more."""

PROFILES: dict[Profile, pb.FrameProfile.ValueType] = {
    "file": pb.FRAME_PROFILE_FILE,
    "embedded": pb.FRAME_PROFILE_EMBEDDED,
}
FITS: dict[Fit, pb.Fit.ValueType] = {
    "refuse": pb.FIT_REFUSE,
    "contain": pb.FIT_CONTAIN,
    "cover": pb.FIT_COVER,
    "stretch": pb.FIT_STRETCH,
}
FALLBACKS: dict[Fallback, pb.Fallback.ValueType] = {
    "best": pb.FALLBACK_BEST,
    "thorough": pb.FALLBACK_THOROUGH,
    "never": pb.FALLBACK_NEVER,
}
FORMATS: dict[Format, pb.ImageFormat.ValueType] = {
    "raw": pb.IMAGE_FORMAT_RAW,
    "png": pb.IMAGE_FORMAT_PNG,
    "webp": pb.IMAGE_FORMAT_WEBP,
    "bmp": pb.IMAGE_FORMAT_BMP,
    "tiff": pb.IMAGE_FORMAT_TIFF,
    "jpeg": pb.IMAGE_FORMAT_JPEG,
}
BASELINES: dict[BaselineName, pb.Baseline.ValueType] = {
    "zip": pb.BASELINE_ZIP,
    "deflate": pb.BASELINE_DEFLATE,
    "png": pb.BASELINE_PNG,
    "webp-lossless": pb.BASELINE_WEBP_LOSSLESS,
    "jpeg": pb.BASELINE_JPEG,
    "webp": pb.BASELINE_WEBP,
    "avif": pb.BASELINE_AVIF,
    "jpeg-xl": pb.BASELINE_JPEG_XL,
}


def choose(known: dict[_Name, _Value], what: str, name: _Name) -> _Value:
    """Return what the contract has for a name. Raises ValueError that lists those there are."""
    if name not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, not {name!r}")
    return known[name]


def demand(**qualities: Any) -> dict[str, Any]:
    """Return the one quality that is given, or none; but for labels, named as in the contract."""
    given = {name: value for name, value in qualities.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"one quality at a time: {' and '.join(given)} exclude each other")
    for name, value in given.items():
        if name in ("label", "lossless"):
            continue
        kind = Integral if name == "max_bytes" else Real
        if isinstance(value, bool) or not isinstance(value, kind):
            raise TypeError(f"{name} must be a {_KINDS[kind]}, not {value!r}")
        # Exact where it is: a large whole number overflows a float.
        number: Any = value if isinstance(value, Rational) else float(value)
        if not number >= 0:
            raise ValueError(f"{name} must be 0 or more, not {value!r}")
        if number > _MOST:
            raise ValueError(f"{name} is too large: {value!r}")
    if "level" in given:
        given |= _level(given["level"])
    return given


def _level(level: float) -> dict[str, int]:
    """Return the fields that ask for a level."""
    if level * 8 % 1 != 0:
        raise ValueError(f"level must be a whole number or one in steps of 1/8, not {level!r}")
    if level >= 1 << 32:
        raise ValueError(f"no model has a level {level!r}")
    whole, eighths = divmod(int(level * 8), 8)
    return {"level": whole, "level_eighths": eighths}
