"""Rates and distortions that others published, to stand beside what is measured.

CompressAI's tables of Kodak's 24 images: https://github.com/InterDigitalInc/CompressAI,
results/image/kodak/compressai-*_mse_cuda.json at commit 869a9f5 (June 2025), rounded. Its models
optimised for MSE, each setting a network of its own; the means over the images of each one's bits
per pixel (the strings' bytes, without a file's header), PSNR on RGB and MS-SSIM on RGB.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kompakt_training.bd_rate import RatePoint


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPoint:
    """A codec at one setting; all figures are means over the images."""

    codec: str
    setting: str
    bits_per_pixel_mean: float
    psnr_mean_db: float
    ms_ssim: float

    @property
    def rate_point(self) -> RatePoint:
        """As a curve takes it."""
        return RatePoint(self.bits_per_pixel_mean, self.psnr_mean_db)


_Rows = tuple[tuple[float, float, float], ...]

_KODAK: Mapping[str, _Rows] = {
    "bmshj2018-factorized": (
        (0.1226, 26.909, 0.9100),
        (0.1885, 28.218, 0.9360),
        (0.2878, 29.617, 0.9555),
        (0.4404, 31.277, 0.9704),
        (0.6481, 32.956, 0.9806),
        (0.9670, 35.381, 0.9879),
        (1.3512, 37.397, 0.9922),
        (1.8333, 39.621, 0.9951),
    ),
    "bmshj2018-hyperprior": (
        (0.1313, 27.582, 0.9174),
        (0.2089, 29.197, 0.9421),
        (0.3199, 30.972, 0.9611),
        (0.4784, 32.838, 0.9749),
        (0.6687, 34.526, 0.9836),
        (0.9388, 36.743, 0.9893),
        (1.2592, 38.584, 0.9929),
        (1.6602, 40.557, 0.9955),
    ),
    "mbt2018-mean": (
        (0.1239, 27.699, 0.9178),
        (0.1980, 29.359, 0.9431),
        (0.3072, 31.129, 0.9615),
        (0.4606, 32.951, 0.9752),
        (0.6617, 34.968, 0.9836),
        (0.9144, 36.911, 0.9893),
        (1.2342, 38.838, 0.9930),
        (1.6191, 40.633, 0.9953),
    ),
    "cheng2020-anchor": (
        (0.1196, 28.582, 0.9236),
        (0.1838, 29.969, 0.9465),
        (0.2710, 31.343, 0.9629),
        (0.4174, 33.390, 0.9758),
        (0.5945, 35.119, 0.9841),
        (0.8057, 36.704, 0.9893),
    ),
}
"""By model and quality, from 1: bits per pixel, PSNR in dB, MS-SSIM."""

PUBLISHED_TABLES: Mapping[str, Mapping[str, _Rows]] = {"kodak": _KODAK}


def published_points(table: str) -> list[PublishedPoint]:
    """All points of a table, by its key in PUBLISHED_TABLES."""
    return [
        PublishedPoint(
            codec=f"compressai-{model}",
            setting=f"quality={quality}",
            bits_per_pixel_mean=bits_per_pixel,
            psnr_mean_db=psnr_db,
            ms_ssim=ms_ssim,
        )
        for model, rows in PUBLISHED_TABLES[table].items()
        for quality, (bits_per_pixel, psnr_db, ms_ssim) in enumerate(rows, start=1)
    ]
