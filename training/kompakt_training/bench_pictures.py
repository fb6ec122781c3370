"""A benchmark's pictures: models beside JPEG and WebP of no fewer bytes."""

import bisect
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from string import Template

import numpy as np

from kompakt_codec.baselines import BASELINES, LossyBaseline
from kompakt_codec.frame import Profile
from kompakt_codec.images import Pixels
from kompakt_codec.metrics import mse, psnr_db
from kompakt_training.bench_models import BenchModel
from kompakt_training.curves import SmallFile
from kompakt_training.html_tables import grouped, image_tag
from kompakt_training.study import TITLES

RIVALS = ("jpeg", "webp")

_TEMPLATE = "bench_page.html"
_NUM_PICTURES = 4
_SIDE = 384
"""Of the middle part that is shown of a larger image, at its own resolution."""


def pictures_page(
    models: Sequence[BenchModel],
    images: Sequence[Pixels],
    *,
    title: str,
    profile: Profile,
    rivals: Sequence[str],
) -> bytes:
    """A page that stands alone, of a few images spread over all (height, width, channels).

    A row has an original, a model's at its default level, and of each rival a file of no fewer
    bytes, as ``nearest_not_below`` chooses it: ``rivals`` are lossy baselines by name.
    """
    count = min(_NUM_PICTURES, len(images))
    chosen = [images[i] for i in np.linspace(0, len(images) - 1, count).astype(int)]
    template = Template(files("kompakt_training").joinpath(_TEMPLATE).read_text("utf-8"))
    tables = "".join(_table(model, chosen, profile, rivals) for model in models)
    return template.substitute(title=escape(title), tables=tables).encode()


def nearest_not_below(name: str, image: Pixels, num_bytes: int) -> SmallFile:
    """A lossy baseline's file of at least ``num_bytes``, the nearest of each variant's qualities.

    Of several variants that with the least error; the largest file if all are smaller. Size mostly
    grows with quality.
    """
    baseline = BASELINES[name]
    assert isinstance(baseline, LossyBaseline)
    made = list(_nearest_of_variants(baseline, image, num_bytes))
    enough = [file for file in made if file.num_bytes >= num_bytes]
    if not enough:
        return max(made, key=lambda file: file.num_bytes)
    return min(enough, key=lambda file: mse(image, file.decoded))


def _nearest_of_variants(
    baseline: LossyBaseline, image: Pixels, num_bytes: int
) -> Iterator[SmallFile]:
    qualities = baseline.qualities
    for variant in baseline.variants(image.shape[2]):

        def size_of(quality: int, variant: str = variant) -> int:
            return len(baseline.encode(image, quality, variant))

        index = bisect.bisect_left(qualities, num_bytes, key=size_of)
        data = baseline.encode(image, qualities[min(index, len(qualities) - 1)], variant)
        yield SmallFile(num_bytes=len(data), decoded=baseline.decode(data, image.shape))


def _table(
    model: BenchModel, images: Sequence[Pixels], profile: Profile, rivals: Sequence[str]
) -> str:
    level = model.codec.header.default_level
    names = ["original", f"{model.name}, level={level}", *(TITLES[name] for name in rivals)]
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = []
    for image in images:
        [frame] = model.codec.compress([image], profile=profile, level=level)
        [decoded] = model.codec.decompress([frame], profile=profile)
        shown = [
            SmallFile(num_bytes=image.nbytes, decoded=image),
            SmallFile(num_bytes=len(frame), decoded=decoded),
            *(nearest_not_below(name, image, len(frame)) for name in rivals),
        ]
        cells = [_cell(image, file, name) for file, name in zip(shown, names, strict=True)]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell(image: Pixels, file: SmallFile, label: str) -> str:
    error = mse(image, file.decoded)
    quality = f", {psnr_db(error):.2f} dB" if error else ""
    tag = image_tag(_middle(file.decoded), label=label, most_width=_SIDE)
    return f"<td>{tag}{grouped(file.num_bytes)} bytes{quality}</td>"


def _middle(pixels: Pixels) -> Pixels:
    top, left = (max(0, side - _SIDE) // 2 for side in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + _SIDE, left : left + _SIDE])
