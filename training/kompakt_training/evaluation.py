"""Rate and distortion on held-out images: every size the length of real, decoded bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kompakt_codec.baselines import decode_baseline, encode_at_mse, encode_lossless
from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_codec.metrics import mse, psnr_db
from kompakt_training.imageset import Images
from kompakt_training.tables import write_csv

LOSSLESS = ("zip", "deflate")

_PIXELS_PER_BATCH = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One codec's figures; the MSE, on [0, 1], is pooled over the images."""

    codec: str
    num_images: int
    bytes_per_image: float
    bits_per_pixel: float
    mse: float
    psnr_db: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Figures, and the decoded images (N, height, width, channels) that they are of."""

    result: Result
    decoded: Images


def evaluate(codec: Codec, images: Images) -> list[Result]:
    """A model's embedded frames and its files, then a ZIP archive an image and raw DEFLATE."""
    profiles = (Profile.EMBEDDED, Profile.FILE)
    ours = [evaluate_codec(codec, images, profile=profile).result for profile in profiles]
    return ours + [evaluate_lossless(name, images) for name in LOSSLESS]


def evaluate_codec(
    codec: Codec, images: Images, *, profile: Profile, level: int | None = None
) -> Evaluation:
    """Compress and decompress every image as a stream of its own, at one rate level."""
    sizes: list[int] = []
    decoded: list[Images] = []
    batch_size = max(1, _PIXELS_PER_BATCH // (images.shape[1] * images.shape[2]))
    for start in range(0, len(images), batch_size):
        batch = list(images[start : start + batch_size])
        frames = codec.compress(batch, profile=profile, level=level)
        sizes += map(len, frames)
        decoded += codec.decompress(frames, profile=profile)
    return _evaluation(f"{codec.header.name} ({profile.value})", images, sizes, decoded)


def evaluate_lossless(name: str, images: Images) -> Result:
    """A lossless classical codec, a file an image."""
    files = [encode_lossless(name, image).data for image in images]
    decoded = [decode_baseline(name, data, images.shape[1:]) for data in files]
    return _evaluation(name, images, [len(data) for data in files], decoded).result


def evaluate_webp(images: Images, max_mse: Sequence[float]) -> Result:
    """WebP, each image as the smallest file whose MSE is at most its own ``max_mse``.

    Where no quality reaches that, the lossless mode does.
    """
    sizes, decoded = [], []
    for image, bound in zip(images, max_mse, strict=True):
        lossy = encode_at_mse("webp", image, bound)
        name = "webp" if lossy else "webp-lossless"
        data = (lossy or encode_lossless(name, image)).data
        sizes.append(len(data))
        decoded.append(decode_baseline(name, data, image.shape))
    return _evaluation("webp", images, sizes, decoded).result


def write_results(path: Path, results: Sequence[Result]) -> None:
    """Write results.csv; its last column says how many times smaller than ZIP a codec is."""
    zip_bytes = next(r.bytes_per_image for r in results if r.codec == "zip")
    rows = [
        {
            "codec": r.codec,
            "images": r.num_images,
            "bytes_per_image": r.bytes_per_image,
            "bits_per_pixel": r.bits_per_pixel,
            "mse": r.mse,
            "psnr_db": r.psnr_db,
            "ratio_to_zip": zip_bytes / r.bytes_per_image,
        }
        for r in results
    ]
    write_csv(path, rows)


def _evaluation(
    codec: str, images: Images, sizes: Sequence[int], decoded: Sequence[Images]
) -> Evaluation:
    outputs = np.stack(decoded)
    pooled_mse = mse(images, outputs)
    bytes_per_image = sum(sizes) / len(images)
    result = Result(
        codec=codec,
        num_images=len(images),
        bytes_per_image=bytes_per_image,
        bits_per_pixel=8 * bytes_per_image / (images.shape[1] * images.shape[2]),
        mse=pooled_mse,
        psnr_db=psnr_db(pooled_mse),
    )
    return Evaluation(result=result, decoded=outputs)
