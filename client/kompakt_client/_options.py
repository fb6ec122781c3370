"""The keyword arguments of the calls; each is described at its method of `Client`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from kompakt_client._names import BaselineName, Fallback, Fit, Format, Profile


class CompressOptions(TypedDict, total=False):
    """Those of `compress`, `compress_batch` and `compress_many`."""

    model: str | None
    profile: Profile
    fit: Fit
    level: float | None
    label: str | None
    min_psnr_db: float | None
    max_mse: float | None
    max_bytes: int | None
    lossless: bool
    fallback: Fallback
    keep_metadata: bool
    latents: bool
    reconstruction: bool
    timeout: float | None


class DecompressOptions(TypedDict, total=False):
    """Those of `decompress`, `decompress_batch` and `decompress_many`."""

    model: str | None
    profile: Profile | None
    format: Format | None
    timeout: float | None


class DecompressToOptions(TypedDict, total=False):
    """Those of `decompress_to`."""

    model: str | None
    profile: Profile | None
    timeout: float | None


class EvaluateOptions(TypedDict, total=False):
    """Those of `evaluate`."""

    models: Sequence[str] | None
    baselines: Sequence[BaselineName] | None
    profile: Profile
    fit: Fit
    level: float | None
    reconstructions: bool
    timeout: float | None
