"""Measurements of many images, added up."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from kompakt.v1 import compression_pb2 as pb
from kompakt_codec.baselines import BASELINES
from kompakt_codec.metrics import psnr_db


@dataclass(slots=True)
class _Sum:
    size_bytes: int = 0
    pixels: int = 0
    squared_error: float = 0.0
    """MSE times samples."""
    samples: int = 0
    psnr_db: float = 0.0
    ssim: float = 0.0
    num_ssim: int = 0
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    num_images: int = 0
    setting: str = ""


@dataclass(slots=True)
class Pool:
    """Measurements of many images, added up by codec and reference model."""

    _sums: dict[tuple[str, str], _Sum] = field(default_factory=dict)

    def add(self, measurements: Sequence[pb.Measurement], shape: tuple[int, ...]) -> None:
        """Add one image's measurements; ``shape`` is its (height, width, channels)."""
        height, width, channels = shape
        for one in measurements:
            total = self._sums.setdefault((one.codec, one.reference_model), _Sum())
            total.size_bytes += one.size_bytes
            total.pixels += height * width
            total.squared_error += one.mse * height * width * channels
            total.samples += height * width * channels
            total.psnr_db += psnr_db(one.mse)
            total.ssim += one.ssim
            total.num_ssim += one.HasField("ssim")
            total.encode_seconds += one.encode_seconds
            total.decode_seconds += one.decode_seconds
            total.num_images += 1
            if one.codec not in BASELINES:  # a model's is the same for all images
                total.setting = one.setting

    def measurements(self) -> list[pb.Measurement]:
        """One for each codec and reference model, in the order of their first image."""
        return [_pooled(*key, total) for key, total in self._sums.items()]


def _pooled(codec: str, reference_model: str, total: _Sum) -> pb.Measurement:
    pooled_mse = total.squared_error / total.samples
    pooled = pb.Measurement(
        codec=codec,
        reference_model=reference_model,
        setting=total.setting,
        size_bytes=total.size_bytes,
        bits_per_pixel=8 * total.size_bytes / total.pixels,
        mse=pooled_mse,
        encode_seconds=total.encode_seconds,
        decode_seconds=total.decode_seconds,
        num_images=total.num_images,
    )
    if pooled_mse:
        pooled.psnr_db = psnr_db(pooled_mse)
    if math.isfinite(total.psnr_db):
        pooled.mean_psnr_db = total.psnr_db / total.num_images
    if total.num_ssim:
        pooled.ssim = total.ssim / total.num_ssim
    return pooled
