"""What the calls return: frozen dataclasses. Their arrays are read-only."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from kompakt_client._arrays import pixels_of
from kompakt_client._errors import KompaktError
from kompakt_client._files import write_file
from kompakt_client._names import Format, Profile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One item of several that failed; its neighbours are not affected."""

    index: int
    """The item's position among the inputs, from 0."""
    error: KompaktError
    """Why it failed."""

    def unwrap(self) -> NoReturn:
        """Raise the error."""
        raise self.error


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """Where a request's time went on the server, in seconds, for all its items together."""

    image: float
    """Reading and fitting the images, or framing and encoding them."""
    queue: float
    """Waiting for the device."""
    transform: float
    """The transforms on the device."""
    entropy: float
    """Entropy coding and framing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compressed:
    """A compressed image."""

    data: bytes = field(repr=False)
    """The stream, ready to be stored."""
    model: str
    """The model that was asked for, which the stream names."""
    codec: str
    """What made the payload: the model's name, or that of a classical codec: "raw",
    "deflate", "png", "webp-lossless" or "webp"."""
    fingerprint: str
    """The fingerprint of that model's entropy path, 64 hexadecimal digits."""
    profile: Profile
    """How the stream is framed."""
    crc32c: int
    """CRC-32C of data."""
    bits_per_pixel: float
    """8 x num_bytes / (height x width)."""
    height: int
    """Height in pixels of what was compressed."""
    width: int
    """Width in pixels of what was compressed."""
    channels: int
    """1 for grey, 3 for RGB."""
    fitted: bool
    """Whether the image's pixels were changed to fit the model."""
    level: float | None = None
    """The model's rate level, with eighths between whole ones; None if a classical codec made the
    payload."""
    metadata_bytes: int = 0
    """How many bytes of the stream keep the image's metadata."""
    latents: npt.NDArray[np.generic] | None = field(default=None, repr=False, compare=False)
    """The quantised latents, int16 (C, h, w), in units of the quantiser's step, or of half of it at
    all levels of a model that has some with dependent quantisers, such as mnist-context; if asked
    for, and if the model made the payload."""
    reconstruction: npt.NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    """What the stream decodes to, uint8 HWC; if asked for."""
    mse: float | None = None
    """Mean squared error of what the stream decodes to, on [0, 1]; if it was measured: for a
    demanded quality, a classical codec, or with the reconstruction."""
    psnr_db: float | None = None
    """10 log10(1 / mse) in dB; None if mse is None or 0."""
    timings: Timings | None = field(default=None, repr=False, compare=False)
    """Where the request's time went; None over a stream."""
    index: int = field(default=0, repr=False, compare=False)
    """The item's position among the inputs, from 0."""

    @property
    def num_bytes(self) -> int:
        """The length of the stream in bytes, all framing and kept metadata included."""
        return len(self.data)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the stream to a file, whole or not at all, and return its path."""
        return write_file(path, self.data)

    def unwrap(self) -> Self:
        """Return the result itself; a `Failure` raises here."""
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class Decompressed:
    """A decompressed image."""

    data: bytes = field(repr=False)
    """Pixels in rows from the top, channels interleaved; or a file in the format."""
    format: Format
    """What data is: "raw" pixels, or the format of the file."""
    height: int
    """Height in pixels."""
    width: int
    """Width in pixels."""
    channels: int
    """1 for grey, 3 for RGB."""
    model: str
    """The model that decoded it, or that a classical codec's stream names."""
    codec: str
    """What the payload was: the model's name, or that of a classical codec."""
    timings: Timings | None = field(default=None, repr=False, compare=False)
    """Where the request's time went; None over a stream."""
    index: int = field(default=0, repr=False, compare=False)
    """The item's position among the inputs, from 0."""

    def to_numpy(self) -> npt.NDArray[np.uint8]:
        """Return the pixels, uint8 HWC.

        Raises ValueError if the image was asked for as a file.
        """
        if self.format != "raw":
            raise ValueError(
                f"this image is a {self.format} file: leave format out to get its pixels"
            )
        return pixels_of(self.data, self.height, self.width, self.channels)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the image's file, whole or not at all, and return its path.

        Raises ValueError if the image was asked for as raw pixels.
        """
        if self.format == "raw":
            raise ValueError(
                "raw pixels are not a file: ask for one, as in decompress(stream, "
                'format="png"), or call decompress_to(stream, path)'
            )
        return write_file(path, self.data)

    def unwrap(self) -> Self:
        """Return the result itself; a `Failure` raises here."""
        return self
