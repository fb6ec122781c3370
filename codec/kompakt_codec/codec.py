"""A codec: one checkpoint, images to frames and back, stage by stage.

The stages stand apart so that a service can time them and run them where they belong: ``analyse``
and ``synthesise`` on the device, ``encode`` and ``decode`` on the CPU, all in batches of one size.
They meet in integer symbols, so what a stream says does not depend on the batch, the device or the
number of threads that decodes it.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import torch

from kompakt_codec.accepted import ANY_SIZE, LevelRange, ShapeRange, SizeRange, by
from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.classical import classical_name, decode_classical
from kompakt_codec.defaults import DEFAULT_EFFORT
from kompakt_codec.entropy import LatentShape, Levels, Symbols
from kompakt_codec.errors import (
    InvalidStreamError,
    ModelMismatchError,
    StreamError,
    UnsupportedVersionError,
)
from kompakt_codec.frame import (
    FINGERPRINT_PREFIX_BYTES,
    Frame,
    Profile,
    framing_bytes,
    mode_of,
    pack_frame,
    parse_frame,
)
from kompakt_codec.grouping import batches, num_pixels, positions_by, stacked
from kompakt_codec.images import Pixels
from kompakt_codec.quantised import QuantisedTransforms
from kompakt_codec.tiling import decode_tiles, encode_tiles


class Codec:
    """A loaded checkpoint on a device. Thread-safe: it holds no state between calls.

    ``effort`` is how many times the encoder of a context model mends its latents (``Refiner``):
    more gives less error for fewer bytes, and takes longer. Decoding is the same for all.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device | str = "cpu",
        *,
        effort: int = DEFAULT_EFFORT,
    ) -> None:
        self.header = checkpoint.header
        self.fingerprint = checkpoint.entropy.fingerprint
        self.device = torch.device(device)
        self.num_parameters = sum(p.numel() for p in checkpoint.model.parameters())
        self._entropy = checkpoint.entropy
        self._model = checkpoint.model.eval().requires_grad_(False).to(self.device)
        self._quantised = QuantisedTransforms(
            self._model, self._entropy, self.header.spec, self.device, effort
        )
        self._own_size = own = (self.header.height, self.header.width)
        self.shapes = ShapeRange(
            ANY_SIZE if self._model.any_size else SizeRange(least=own, most=own),
            self.header.channels,
        )
        count = self.header.levels
        self.levels = LevelRange(count, has_between=self._entropy.has_between and count > 1)

    @classmethod
    def load(
        cls, path: Path | str, device: torch.device | str = "cpu", *, effort: int = DEFAULT_EFFORT
    ) -> Self:
        """Load a checkpoint file onto a device. Raises CheckpointError."""
        return cls(Checkpoint.load(Path(path)), device, effort=effort)

    @property
    def sizes(self) -> SizeRange:
        """The (height, width) of the images that it accepts."""
        return self.shapes.sizes

    def compress(
        self,
        images: Sequence[Pixels],
        *,
        profile: Profile = Profile.FILE,
        level: float | Levels | None = None,
    ) -> list[bytes]:
        """Compress uint8 images (height, width, channels) of accepted sizes to frames.

        ``level`` is the rate level of all of them, or of each; the model's default if it is None.
        Raises WrongSizeError, UnsupportedImageError for pixels that are not uint8, and ValueError
        for a level that it does not have, and for more or fewer levels than images.
        """
        self.shapes.require(images)
        level = self.header.default_level if level is None else level
        chosen = list(level) if isinstance(level, Iterable) else [level] * len(images)
        self.levels.require(chosen)
        if len(chosen) != len(images):
            raise ValueError(f"{len(chosen)} levels for {len(images)} images")
        frames = [b""] * len(images)
        for members in batches(images, num_pixels):
            batch = stacked(images, members)
            levels = [chosen[i] for i in members]
            symbols = self.analyse(batch, levels)
            made = self.encode(symbols, levels, batch.shape[1:3], profile=profile)
            for i, frame in zip(members, made, strict=True):
                frames[i] = frame
        return frames

    def decompress(
        self, frames: Sequence[bytes], *, profile: Profile = Profile.FILE
    ) -> list[Pixels]:
        """Decompress frames to uint8 images (height, width, channels).

        Raises a StreamError for the first frame that does not decode.
        """
        if not frames:
            return []
        parsed = [parse_frame(data, profile) for data in frames]
        images = {
            i: self.decode_classical(frame)[0]
            for i, frame in enumerate(parsed)
            if frame.is_classical
        }
        rest = [i for i, frame in enumerate(parsed) if not frame.is_classical]
        symbols = []
        for item in self.decode([parsed[i] for i in rest]):
            if isinstance(item, StreamError):
                raise item
            symbols.append(item)
        for members in batches(symbols, self.pixels_of):
            levels = [level_of(parsed[rest[k]]) for k in members]
            decoded = self.synthesise(stacked(symbols, members), levels)
            for k, pixels in zip(members, decoded, strict=True):
                images[rest[k]] = crop_pixels(pixels, self.size_of(parsed[rest[k]]))
        return [images[i] for i in range(len(frames))]

    def analyse(self, images: Pixels, levels: Levels) -> Symbols:
        """Transform and quantise uint8 images (N, height, width, channels) to symbols (N, C, h, w).

        Rounding is the encoder's own choice: another device may choose a neighbour.
        """
        return self._quantised.analyse(images, levels)

    def encode(
        self, symbols: Symbols, levels: Levels, size: Sequence[int], *, profile: Profile
    ) -> list[bytes]:
        """Entropy-code and frame symbols (N, C, h, w) of images (height, width), each a frame.

        Raises ValueError for a level that it does not have.
        """
        self.levels.require(levels)
        payloads = encode_tiles(
            self._entropy, symbols, levels, largest=self._quantised.largest_tile
        )
        return [
            self.pack(prefix + payload, one, mode, size, profile=profile)
            for payload, one, (mode, prefix) in zip(
                payloads, symbols, map(mode_of, levels), strict=True
            )
        ]

    def pack(
        self,
        payload: bytes,
        decoded: Symbols | Pixels,
        mode: int,
        size: Sequence[int],
        *,
        profile: Profile,
    ) -> bytes:
        """Frame a payload, of symbols or classical, for an image of this (height, width)."""
        written = self._written(size)
        return pack_frame(
            payload, decoded, self.fingerprint, profile=profile, mode=mode, size=written
        )

    def framing_bytes(self, size: Sequence[int], *, profile: Profile) -> int:
        """How many bytes of an image's frame are not its payload."""
        return framing_bytes(profile, self._written(size))

    def _written(self, size: Sequence[int]) -> tuple[int, int] | None:
        height, width = size
        return None if (height, width) == self._own_size else (height, width)

    def pixels_of(self, symbols: Symbols) -> int:
        """Pixels that ``synthesise`` makes of an image's symbols (C, h, w)."""
        if self.sizes.is_one:
            return self._own_size[0] * self._own_size[1]
        return int(symbols[0].size) * self._model.stride**2

    def size_of(self, frame: Frame) -> tuple[int, int]:
        """The (height, width) of a frame's image: its own, or the one that needs no writing."""
        return frame.size or self._own_size

    def num_pixels(self, frame: Frame) -> int:
        """How many a frame's image has; 0 if it says a size that will be refused."""
        size = self.size_of(frame)
        return math.prod(size) if size in self.sizes else 0

    def decode(self, frames: Sequence[Frame]) -> list[Symbols | StreamError]:
        """Recover and check the symbols (C, h, w) of each frame, or say what is wrong with it.

        A ModelMismatchError, InvalidStreamError or CorruptStreamError.
        """
        results: list[Symbols | StreamError | None] = [self._refusal(frame) for frame in frames]
        rest = [i for i, refusal in enumerate(results) if refusal is None]
        shapes = [self.latent_shape(self.size_of(frames[i])) for i in rest]
        for shape, group in positions_by(shapes).items():
            members = [rest[k] for k in group]
            payloads = [frames[i].payload for i in members]
            levels = [level_of(frames[i]) for i in members]
            decoded = decode_tiles(
                self._entropy, payloads, levels, shape, largest=self._quantised.largest_tile
            )
            for i, item in zip(members, decoded, strict=True):
                results[i] = self._verified(frames[i], item)
        return [item for item in results if item is not None]

    def latent_shape(self, size: tuple[int, int]) -> LatentShape:
        """(C, h, w) of the symbols of an accepted image (height, width)."""
        return self._model.latent_shape_of(size)

    def decode_classical(self, frame: Frame) -> tuple[Pixels, str]:
        """Decode and check a classical frame that names this codec's model.

        Returns uint8 pixels (height, width, channels) and the classical codec's name. Raises a
        StreamError, or BaselineUnavailableError if Pillow lacks the codec.
        """
        refusal = self._refusal(frame)
        if refusal is not None:
            raise refusal
        shape = (*self.size_of(frame), self.header.channels)
        pixels = decode_classical(frame.mode, frame.payload, shape)
        frame.verify(self.fingerprint, pixels)
        return pixels, classical_name(frame.mode, frame.payload)

    def _refusal(self, frame: Frame) -> StreamError | None:
        prefix = frame.fingerprint_prefix
        if prefix is not None and prefix != self.fingerprint[:FINGERPRINT_PREFIX_BYTES]:
            return ModelMismatchError(
                f"the stream was made by the model with fingerprint {prefix.hex()}…, "
                f"not by {self.header.name} ({self.fingerprint.hex()[:8]}…)"
            )
        if frame.size is not None and frame.size not in self.sizes:
            return InvalidStreamError(
                f"a shape of {by(frame.size)}, but {self.header.name} accepts {self.sizes}"
            )
        if frame.size == self._own_size:
            return InvalidStreamError("a shape where none is needed")
        if frame.level is not None and frame.level not in self.levels:
            return UnsupportedVersionError(
                f"rate level {frame.level:g}; that of {self.header.name} must be {self.levels}"
            )
        return None

    def _verified(self, frame: Frame, symbols: Symbols | StreamError) -> Symbols | StreamError:
        if isinstance(symbols, StreamError):
            return symbols
        try:
            frame.verify(self.fingerprint, symbols)
        except StreamError as exc:
            return exc
        return symbols

    def synthesise(self, symbols: Symbols, levels: Levels) -> Pixels:
        """Transform symbols (N, C, h, w) to uint8 images (N, height, width, channels).

        Those of a model of any size may have more rows and columns than the images had:
        ``crop_pixels``.
        """
        return self._quantised.synthesise(symbols, levels)


def level_of(frame: Frame) -> float:
    """The rate level of a frame that is not classical."""
    assert frame.level is not None
    return frame.level


def crop_pixels(pixels: Pixels, size: Sequence[int]) -> Pixels:
    """The first rows and columns of pixels (height, width, channels)."""
    return pixels[: size[0], : size[1]]
