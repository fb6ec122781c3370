"""Pieces of an HTML page: tables, images, and numbers as people read them."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape

from kompakt_codec.images import FileFormat, Pixels, encode_image

_LEAST_WIDTH, _MOST_WIDTH = 96, 192


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, own: int) -> str:
    """Rows of plain text under headings; the one with the index ``own`` is set off."""
    head = "".join(f"<th>{escape(text)}</th>" for text in headings)
    body = []
    for index, row in enumerate(rows):
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        body.append(f'<tr class="own">{cells}</tr>' if index == own else f"<tr>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def image_tag(pixels: Pixels, *, label: str, most_width: int = _MOST_WIDTH) -> str:
    """Pixels (height, width, channels) within the page, small ones enlarged by a whole factor.

    Wider ones than ``most_width`` are shown at that.
    """
    height, width = pixels.shape[:2]
    factor = -(-_LEAST_WIDTH // width)
    shown = min(factor * width, most_width)
    sharp = ' class="sharp"' if factor > 1 else ""
    data = b64encode(encode_image(pixels, FileFormat.PNG)).decode()
    return (
        f'<img{sharp} width="{shown}" height="{round(height * shown / width)}" '
        f'alt="{escape(label)}" src="data:image/png;base64,{data}">'
    )


def grouped(number: float) -> str:
    """A whole number, its thousands apart: "1,234,567"."""
    return f"{round(number):,}"


def gigabytes(num_bytes: float) -> str:
    """Such as "0.013 GB" or "1,240 GB"."""
    value = num_bytes / 1e9
    digits = 3 if value < 1 else 2 if value < 10 else 0
    return f"{value:,.{digits}f} GB"
