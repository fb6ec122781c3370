"""The registry of classical codecs: how each writes pixels and reads them back."""

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import features

from kompakt_codec.baselines._open import open_file
from kompakt_codec.errors import BaselineUnavailableError
from kompakt_codec.images import (
    JPEG_MAX_SIDE,
    MAX_SIDE,
    WEBP_MAX_SIDE,
    Pixels,
    from_pillow,
    to_pillow,
)
from kompakt_codec.interruption import check_interruption

Options = Mapping[str, Any]
Shape = tuple[int, ...]


class LosslessBaseline(Protocol):
    """A codec whose decoder returns the pixels that its encoder got."""

    @property
    def setting(self) -> str:
        """The one setting that is used, such as "level=9"."""

    @property
    def max_side(self) -> int:
        """The most pixels in height or width."""

    def require(self) -> None:
        """Raise BaselineUnavailableError if the codec's library is missing."""

    def encode(self, pixels: Pixels) -> bytes:
        """Write pixels (height, width, 1 or 3) as a file."""

    def decode(self, data: bytes, shape: Shape) -> Pixels:
        """Read back pixels of the shape that was written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _RawBytes:
    """A general compressor of the raw pixels; it does not keep their shape."""

    setting: str
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]
    max_side: int = MAX_SIDE

    def require(self) -> None:
        """Nothing: the standard library has it."""

    def encode(self, pixels: Pixels) -> bytes:
        return self.compress(pixels.tobytes())

    def decode(self, data: bytes, shape: Shape) -> Pixels:
        return np.frombuffer(self.decompress(data), np.uint8).reshape(shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class _PillowFormat:
    """An image format by the name and feature that Pillow gives it."""

    format: str
    feature: str
    options: Options
    max_side: int = MAX_SIDE

    def require(self) -> None:
        """Raise BaselineUnavailableError if the codec's library is missing."""
        if self.format == "JXL":
            _import_jpeg_xl()
        elif not features.check(self.feature):
            raise BaselineUnavailableError(f"this build of Pillow has no {self.format}")

    def decode(self, data: bytes, shape: Shape) -> Pixels:
        """Read back pixels of the shape that was written."""
        with open_file(self.format, data) as image:
            return from_pillow(image.convert("L" if shape[2] == 1 else "RGB"))

    def _save(self, pixels: Pixels, options: Options) -> bytes:
        buffer = io.BytesIO()
        to_pillow(pixels).save(buffer, self.format, **{**self.options, **options})
        return buffer.getvalue()


@dataclass(frozen=True, kw_only=True, slots=True)
class _LosslessFile(_PillowFormat):
    setting: str

    def encode(self, pixels: Pixels) -> bytes:
        return self._save(pixels, {})


def _plain_quality(quality: int) -> Options:
    return {"quality": quality}


def _jpeg_2000_quality(quality: int) -> Options:
    return {"quality_layers": [20 + 0.3 * quality]}


@dataclass(frozen=True, kw_only=True, slots=True)
class LossyBaseline(_PillowFormat):
    """A lossy codec: its settings are an integer quality and a variant."""

    qualities: range
    grey_variants: Mapping[str, Options]
    """Other options to try for grey images, by the label that a setting shows."""
    rgb_variants: Mapping[str, Options]
    """The same for RGB images."""
    options_of: Callable[[int], Options] = _plain_quality
    """What asks the encoder for a quality."""
    lossless_quality: int | None = None
    """The quality that asks for the lossless mode."""
    fallback: Options | None = None
    """Options to encode with when the encoder gives up on the others."""

    def variants(self, channels: int) -> Mapping[str, Options]:
        """The variants for images of 1 or 3 channels."""
        return self.grey_variants if channels == 1 else self.rgb_variants

    def encode(self, pixels: Pixels, quality: int, variant: str) -> bytes:
        """Write pixels (height, width, 1 or 3) as a file; a step of a search."""
        check_interruption()
        lossless = quality == self.lossless_quality
        options: Options = {"lossless": True} if lossless else self.options_of(quality)
        options = {**options, **self.variants(pixels.shape[2])[variant]}
        try:
            return self._save(pixels, options)
        except OSError:
            if self.fallback is None:
                raise
            return self._save(pixels, {**options, **self.fallback})


def _import_jpeg_xl() -> None:
    """Register JPEG XL with Pillow."""
    try:
        import pillow_jxl  # noqa: F401
    except ImportError as error:
        raise BaselineUnavailableError(
            "JPEG XL needs a plugin: pip install pillow-jxl-plugin"
        ) from error


def _deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def _inflate(data: bytes) -> bytes:
    return zlib.decompress(data, -zlib.MAX_WBITS)


_ZIP_ENTRY = "0"


def _zip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo(_ZIP_ENTRY, date_time=(1980, 1, 1, 0, 0, 0))
        archive.writestr(entry, data, zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def _unzip(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(_ZIP_ENTRY)


_PLAIN: Mapping[str, Options] = {"": {}}

BASELINES: dict[str, LosslessBaseline | LossyBaseline] = {
    "zip": _RawBytes(setting="level=9", compress=_zip, decompress=_unzip),
    "deflate": _RawBytes(setting="level=9", compress=_deflate, decompress=_inflate),
    "png": _LosslessFile(
        format="PNG", feature="zlib", setting="optimize", options={"optimize": True}
    ),
    "webp-lossless": _LosslessFile(
        format="WEBP",
        feature="webp",
        setting="method=6 quality=100",
        options={"lossless": True, "method": 6, "quality": 100},
        max_side=WEBP_MAX_SIDE,
    ),
    "jpeg": LossyBaseline(
        format="JPEG",
        feature="jpg",
        options={"optimize": True},
        qualities=range(1, 101),
        grey_variants={"": {}, "progressive": {"progressive": True}},
        rgb_variants={
            "4:2:0": {"subsampling": "4:2:0"},
            "4:2:0 progressive": {"subsampling": "4:2:0", "progressive": True},
            "4:4:4": {"subsampling": "4:4:4"},
            "4:4:4 progressive": {"subsampling": "4:4:4", "progressive": True},
        },
        # Pillow's buffer for these two holds 2 bytes a pixel, too little for noise.
        fallback={"optimize": False, "progressive": False},
        max_side=JPEG_MAX_SIDE,
    ),
    "webp": LossyBaseline(
        format="WEBP",
        feature="webp",
        options={"method": 6},
        qualities=range(101),
        grey_variants=_PLAIN,
        rgb_variants=_PLAIN,
        max_side=WEBP_MAX_SIDE,
    ),
    "avif": LossyBaseline(
        format="AVIF",
        feature="avif",
        options={"speed": 6, "max_threads": 1},
        max_side=32_768,  # of libavif's decoder
        qualities=range(101),
        grey_variants={"": {"subsampling": "4:0:0"}},
        rgb_variants={"4:2:0": {"subsampling": "4:2:0"}, "4:4:4": {"subsampling": "4:4:4"}},
    ),
    "jpeg-xl": LossyBaseline(
        format="JXL",
        feature="",
        options={"effort": 7, "num_threads": 0},
        qualities=range(101),
        grey_variants=_PLAIN,
        rgb_variants=_PLAIN,
        lossless_quality=100,
    ),
    "jpeg-2000": LossyBaseline(
        format="JPEG2000",
        feature="jpg_2000",
        # An empty comment would have OpenJPEG sign the stream, with 32 bytes more.
        options={"irreversible": True, "quality_mode": "dB", "no_jp2": True, "comment": " "},
        qualities=range(101),
        grey_variants=_PLAIN,
        # Pillow does not decorrelate the colours by itself, which doubles the files.
        rgb_variants={"": {"mct": 1}},
        options_of=_jpeg_2000_quality,
    ),
}
