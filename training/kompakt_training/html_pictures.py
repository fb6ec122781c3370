"""The report's pictures: a few held-out images as every codec makes them of about equal bytes."""

from collections.abc import Sequence
from html import escape

import numpy as np

from kompakt_codec.frame import Profile
from kompakt_training.curves import LossyCurve, SmallFile
from kompakt_training.html_tables import image_tag
from kompakt_training.imageset import Images
from kompakt_training.study import TITLES, Study

_NUM_PICTURES = 6
_SEED = 0


def pictures(study: Study) -> str:
    """A table of images in the columns and codecs in the rows, the model at its default level."""
    count = min(_NUM_PICTURES, len(study.images))
    chosen = np.random.default_rng(_SEED).choice(len(study.images), count, replace=False)
    originals = study.images[np.sort(chosen)]
    frames = study.codec.compress(list(originals), profile=Profile.EMBEDDED)
    decoded = study.codec.decompress(frames, profile=Profile.EMBEDDED)
    ours = [SmallFile(num_bytes=len(f), decoded=d) for f, d in zip(frames, decoded, strict=True)]
    sizes = [len(frame) for frame in frames]
    rows = [
        _row("original", [SmallFile(num_bytes=i.nbytes, decoded=i) for i in originals], None),
        _row(study.codec.header.name, ours, sizes),
        *(
            _row(TITLES[name], _files(curve, originals, sizes), sizes)
            for name, curve in study.curves.items()
        ),
    ]
    return f'<table class="pictures"><tbody>{"".join(rows)}</tbody></table>'


def _files(curve: LossyCurve, originals: Images, sizes: Sequence[int]) -> list[SmallFile]:
    return [curve.file_of(image, size) for image, size in zip(originals, sizes, strict=True)]


def _row(name: str, files: Sequence[SmallFile], sizes: Sequence[int] | None) -> str:
    """``sizes`` are the model's: the bytes of a file that is larger are set off."""
    cells = []
    for index, file in enumerate(files):
        is_over = sizes is not None and file.num_bytes > sizes[index]
        size = f"<b>{file.num_bytes:,}</b>" if is_over else f"{file.num_bytes:,}"
        cells.append(f"<td>{image_tag(file.decoded, label=name)}{size}</td>")
    return f"<tr><td>{escape(name)}</td>{''.join(cells)}</tr>"
