"""``report.html``: on one page, what a trained codec is worth beside the classical ones."""

import shlex
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from kompakt_codec.codec import Codec
from kompakt_codec.files import write_whole
from kompakt_codec.images import Pixels
from kompakt_training.curves import Point
from kompakt_training.html_pictures import pictures
from kompakt_training.html_tables import gigabytes, grouped, table
from kompakt_training.study import TITLES, Study
from kompakt_training.svg_chart import Dot, Line, Mark, rate_distortion_chart

REPORT_PAGE = "report.html"

_TEMPLATE = "report_page.html"
_MARKED = ("png", "zip")
"""The lossless codecs that the chart shows too."""
_MILLION = 1_000_000


def write_html_report(
    path: Path, codec: Codec, images: Pixels, *, models: Path, num_seen: int = 0
) -> None:
    """Measure a codec on held-out images (N, height, width, channels) and write the page.

    It stands alone: styles, chart and pictures lie within it. ``models`` is the folder to serve,
    ``num_seen`` how many of the folder's held-out images were trained on as well.
    """
    write_whole(path, _page(Study.of(codec, images), models, num_seen).encode())


def _page(study: Study, models: Path, num_seen: int) -> str:
    header = study.codec.header
    training = header.training
    compress = ["kompakt", "compress", "image.png", "-o", "image.kpt", "--model", header.name]
    texts = {
        "title": header.name,
        "subtitle": _subtitle(study),
        "verdict": _verdict(study),
        "measured_on": _measured_on(study, num_seen),
        "serve": shlex.join(["kompakt", "serve", "--models", str(models)]),
        "compress": shlex.join(compress),
        "spec": _spec(study),
        "command": training.command,
        "licence": training.licence,
    }
    template = Template(files("kompakt_training").joinpath(_TEMPLATE).read_text("utf-8"))
    return template.substitute(
        {name: escape(text) for name, text in texts.items()},
        facts="".join(
            f"<div><dd>{escape(k)}</dd><dt>{escape(v)}</dt></div>" for k, v in _facts(study)
        ),
        chart=_chart(study),
        equal_quality=_equal_quality(study),
        pictures=pictures(study),
        levels=_levels(study),
    )


def _spec(study: Study) -> str:
    kind = "RGB" if study.codec.header.channels == 3 else "grey"
    return f"{kind} images of {study.codec.sizes}"


def _subtitle(study: Study) -> str:
    header = study.codec.header
    return (
        f"{header.architecture} for {_spec(study)}, trained on "
        f"{grouped(header.training.num_images)} images of {header.training.dataset}"
    )


def _verdict(study: Study) -> str:
    own, best = study.own, study.best
    opening = (
        f"On held-out images this codec takes {own.bytes_per_image:.1f} bytes an image at "
        f"{_db(own)}. The best classical codec at that quality, {TITLES[best.codec]} "
        f"({best.setting}), takes {best.bytes_per_image:.1f}"
    )
    if not study.is_worth_while:
        return f"{opening}, no more than this one: more epochs or more images may help."
    ours, theirs = (point.bytes_per_image * _MILLION for point in (own, best))
    return (
        f"{opening}. A million images take {grouped(ours)} bytes ({gigabytes(ours)}) instead of "
        f"{grouped(theirs)} ({gigabytes(theirs)}): {grouped(theirs - ours)} bytes "
        f"({gigabytes(theirs - ours)}) are saved."
    )


def _facts(study: Study) -> list[tuple[str, str]]:
    """Figures, and what they are."""
    own, best = study.own, study.best
    small, large = sorted((own.bytes_per_image, best.bytes_per_image))
    comparative, outcome = ("smaller", "saved") if study.is_worth_while else ("larger", "lost")
    return [
        (
            f"{own.bytes_per_image:.1f} bytes",
            f"an image, {_bits_per_pixel(study, own)} bits a pixel",
        ),
        (_db(own), f"PSNR, MSE {own.mse:.5f}"),
        (f"{large / small:.2f} times {comparative}", f"than {TITLES[best.codec]} at that quality"),
        (gigabytes((large - small) * _MILLION), f"{outcome} on a million images"),
    ]


def _measured_on(study: Study, num_seen: int) -> str:
    seen = f" Images held out that were trained on too, as copies: {num_seen}." * bool(num_seen)
    left_out = "".join(f" Left out: {reason}." for reason in study.unavailable)
    return (
        f"Measured on {len(study.images)} held-out images, one stream or file for each, all "
        "decoded again. A model's stream counts as it travels in a message, its framing of 2 bytes "
        "included. MSE is on pixels from 0 to 1 and pooled over the images, PSNR is of that MSE."
        f"{seen}{left_out}"
    )


def _chart(study: Study) -> str:
    ours = Line(name=study.codec.header.name, style="s-model", dots=_dots(study.model))
    others = [
        Line(name=TITLES[name], style=f"s-{name}", dots=_dots(curve.front()))
        for name, curve in study.curves.items()
    ]
    marks = [
        Mark(name=TITLES[point.codec], num_bytes=point.bytes_per_image)
        for point in study.lossless
        if point.codec in _MARKED
    ]
    return rate_distortion_chart(ours, others, marks)


def _dots(points: Sequence[Point]) -> list[Dot]:
    return [
        Dot(
            num_bytes=point.bytes_per_image,
            psnr_db=point.psnr_db,
            title=f"{TITLES.get(point.codec, point.codec)}, {point.setting}: "
            f"{point.bytes_per_image:.1f} bytes, {_db(point)}",
        )
        for point in points
    ]


def _equal_quality(study: Study) -> str:
    """All codecs by size, those that do not reach the model's quality at the end."""
    own = study.own
    points = [own, *study.lossless, *(point for point in study.equal.values() if point)]
    points.sort(key=lambda point: point.bytes_per_image)
    rows = [
        [
            TITLES.get(point.codec, point.codec),
            point.setting,
            f"{point.bytes_per_image:.1f}",
            f"{point.bytes_per_image / own.bytes_per_image:.2f}",
            f"{point.mse:.5f}",
            _db(point),
            gigabytes(point.bytes_per_image * _MILLION),
        ]
        for point in points
    ]
    rows += [
        [TITLES[name], "does not reach it", *["-"] * 5]
        for name, point in study.equal.items()
        if point is None
    ]
    headings = [
        "codec",
        "setting",
        "bytes an image",
        "times ours",
        "MSE",
        "PSNR",
        "a million images",
    ]
    return table(headings, rows, own=points.index(own))


def _levels(study: Study) -> str:
    rows = [
        [
            point.setting,
            f"{point.bytes_per_image:.1f}",
            _bits_per_pixel(study, point),
            f"{point.mse:.5f}",
            _db(point),
        ]
        for point in study.model
    ]
    headings = ["level", "bytes an image", "bits a pixel", "MSE", "PSNR"]
    return table(headings, rows, own=study.codec.header.default_level)


def _bits_per_pixel(study: Study, point: Point) -> str:
    height, width = study.images.shape[1:3]
    return f"{8 * point.bytes_per_image / (height * width):.3f}"


def _db(point: Point) -> str:
    return f"{point.psnr_db:.2f} dB" if point.mse else "lossless"
