"""The work: images and streams, and the requests that ask the service to do it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from benchmarks.digits import Digits, load_digits
from kompakt.v1 import compression_pb2 as pb
from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_service.settings import DEFAULT_MODELS

MODEL = "mnist-vae"
CHECKPOINT = DEFAULT_MODELS / f"{MODEL}.safetensors"
DIRECTIONS = ("compress", "decompress")
SERVICE = "kompakt.v1.CompressionService"
NUM_DIGITS = 1024

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The same images as every benchmark wants them."""

    digits: Digits
    frames: Sequence[bytes]
    source: str

    @classmethod
    def make(cls, codec: Codec) -> "Work":
        """Digits, and the embedded frames that the codec makes of them."""
        digits, source = load_digits(NUM_DIGITS)
        frames = codec.compress(list(digits), profile=Profile.EMBEDDED)
        return cls(digits=digits, frames=frames, source=source)

    def unary(self, direction: str, images: int) -> list[bytes]:
        """Requests of so many images each."""
        if direction == "compress":
            return [
                pb.CompressRequest(images=group, options=_compress_options()).SerializeToString()
                for group in _grouped(self._images(), images)
            ]
        return [
            pb.DecompressRequest(streams=group, options=_decompress_options()).SerializeToString()
            for group in _grouped(self._streams(), images)
        ]

    def stream(self, direction: str, images: int) -> list[bytes]:
        """Messages of a stream: the first has options alone, the others so many images each."""
        if direction == "compress":
            first = pb.StreamCompressRequest(options=_compress_options())
            rest = [pb.StreamCompressRequest(images=g) for g in _grouped(self._images(), images)]
            return [message.SerializeToString() for message in (first, *rest)]
        opening = pb.StreamDecompressRequest(options=_decompress_options())
        others = [pb.StreamDecompressRequest(streams=g) for g in _grouped(self._streams(), images)]
        return [message.SerializeToString() for message in (opening, *others)]

    def _images(self) -> list[pb.Image]:
        height, width = self.digits.shape[1:3]
        return [
            pb.Image(raw=pb.RawImage(data=one.tobytes(), height=height, width=width))
            for one in self.digits
        ]

    def _streams(self) -> list[pb.CompressedImage]:
        return [pb.CompressedImage(data=frame) for frame in self.frames]


def check_answers(work: Work, codec: Codec, answers: dict[str, bytes], images: int) -> None:
    """Raise ValueError unless a service's answers to the first requests are what the codec gives.

    Rounding is the encoder's own choice, so a compressed image is right if it decodes to nearly the
    same picture; a decompressed one has to be it, within a step of a pixel.
    """
    compressed = pb.CompressResponse.FromString(answers["compress"]).results
    decompressed = pb.DecompressResponse.FromString(answers["decompress"]).results
    made = [result.stream.data for result in compressed]
    wanted = np.stack(codec.decompress(work.frames[:images], profile=Profile.EMBEDDED)).astype(int)
    decoded = np.stack(codec.decompress(made, profile=Profile.EMBEDDED))
    given = np.frombuffer(b"".join(result.image.raw.data for result in decompressed), np.uint8)
    if len(made) != images or np.abs(decoded - wanted).mean() > 1:
        raise ValueError("the service compresses to something else than the codec")
    if np.abs(given.reshape(wanted.shape) - wanted).max() > 1:
        raise ValueError("the service decompresses to something else than the codec")


def _compress_options() -> pb.CompressOptions:
    return pb.CompressOptions(model=MODEL, profile=pb.FRAME_PROFILE_EMBEDDED)


def _decompress_options() -> pb.DecompressOptions:
    return pb.DecompressOptions(model=MODEL, profile=pb.FRAME_PROFILE_EMBEDDED)


def _grouped(items: Sequence[_Item], size: int) -> list[Sequence[_Item]]:
    return [items[start : start + size] for start in range(0, len(items) - size + 1, size)]
