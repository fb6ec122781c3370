"""Files that a baseline wrote, opened by Pillow."""

import io

from PIL import Image


def open_file(name: str, data: bytes) -> Image.Image:
    """Open a file whose size is known, so without Pillow's own bound on pixels.

    That is of Image.open, but Pillow's reader of WebP checks it too.
    """
    if name == "WEBP":
        return _open_webp(data)
    Image.init()
    reader, _ = Image.OPEN[name]
    return reader(io.BytesIO(data), "")


def _open_webp(data: bytes) -> Image.Image:
    from PIL import _webp  # of which a build of Pillow may have none

    decoder = _webp.WebPAnimDecoder(data)
    (size, *_, raw_mode), (pixels, _) = decoder.get_info(), decoder.get_next()
    mode = "RGB" if raw_mode == "RGBX" else raw_mode
    return Image.frombuffer(mode, size, pixels, "raw", raw_mode, 0, 1)
