"""A codec: one checkpoint, images to frames and back, stage by stage.

The stages stand apart so that a service can time them and run them where they belong: ``analyse``
and ``synthesise`` on the device, in batches; ``encode`` and ``decode`` on the CPU, image by image.
They meet in integer symbols, so what a stream says does not depend on the batch, the device or the
number of threads that decodes it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch

from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.entropy import SymbolCoder, Symbols
from kompakt_codec.errors import InvalidStreamError, ModelMismatchError
from kompakt_codec.frame import (
    FINGERPRINT_PREFIX_BYTES,
    Frame,
    Profile,
    pack_frame,
    parse_frame,
)
from kompakt_codec.images import Pixels


class Codec:
    """A loaded checkpoint on a device. Thread-safe: it holds no state between calls."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device | str = "cpu") -> None:
        self.header = checkpoint.header
        self.fingerprint = checkpoint.tables.fingerprint
        self.device = torch.device(device)
        self.num_parameters = sum(p.numel() for p in checkpoint.model.parameters())
        self._tables = checkpoint.tables
        self._model = checkpoint.model.eval().to(self.device)
        self._coder = SymbolCoder(checkpoint.tables)

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> Self:
        """Load a checkpoint file onto a device. Raises CheckpointError."""
        return cls(Checkpoint.load(Path(path)), device)

    def compress(self, images: Sequence[Pixels], *, profile: Profile = Profile.FILE) -> list[bytes]:
        """Compress uint8 images of the model's shape (height, width, channels) to frames."""
        if not images:
            return []
        return [self.encode(symbols, profile=profile) for symbols in self.analyse(np.stack(images))]

    def decompress(
        self, frames: Sequence[bytes], *, profile: Profile = Profile.FILE
    ) -> list[Pixels]:
        """Decompress frames to uint8 images (height, width, channels).

        Raises a StreamError for the first frame that does not decode.
        """
        if not frames:
            return []
        symbols = [self.decode(parse_frame(data, profile)) for data in frames]
        return list(self.synthesise(np.stack(symbols)))

    @torch.inference_mode()
    def analyse(self, images: Pixels) -> Symbols:
        """Transform and quantise uint8 images (N, height, width, channels) to symbols (N, C, h, w).

        Rounding is the encoder's own choice: another device may choose a neighbour.
        """
        x = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float().div_(255)
        return self._tables.clip(self._model.analyse(x).cpu().numpy())

    def encode(self, symbols: Symbols, *, profile: Profile) -> bytes:
        """Entropy-code and frame the symbols (C, h, w) of one image."""
        payload = self._coder.encode(symbols)
        return pack_frame(payload, symbols, self.fingerprint, profile=profile)

    def decode(self, frame: Frame) -> Symbols:
        """Recover and check the symbols (C, h, w) of one frame.

        Raises ModelMismatchError, InvalidStreamError or CorruptStreamError.
        """
        prefix = frame.fingerprint_prefix
        if prefix is not None and prefix != self.fingerprint[:FINGERPRINT_PREFIX_BYTES]:
            raise ModelMismatchError(
                f"the stream was made by the model with fingerprint {prefix.hex()}…, "
                f"not by {self.header.name} ({self.fingerprint.hex()[:8]}…)"
            )
        if frame.size is not None:
            raise InvalidStreamError(f"a shape, but {self.header.name} has only one size")
        symbols = self._coder.decode(frame.payload)
        frame.verify(self.fingerprint, symbols)
        return symbols

    @torch.inference_mode()
    def synthesise(self, symbols: Symbols) -> Pixels:
        """Transform symbols (N, C, h, w) to uint8 images (N, height, width, channels)."""
        y_hat = torch.from_numpy(symbols).to(self.device).float()
        x_hat = self._model.synthesise(y_hat).mul(255).round_().clamp_(0, 255)
        return x_hat.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
