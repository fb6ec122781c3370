"""Classical frames back to pixels."""

from kompakt_codec.classical import decode_classical
from kompakt_codec.codec import Codec
from kompakt_codec.errors import InvalidStreamError, ModelMismatchError
from kompakt_codec.frame import NAMED_CODEC, Frame
from kompakt_codec.images import Pixels

_NAMES = {0: "raw", 1: "png", 2: "webp-lossless", 3: "webp"}
"""By a named codec's number in the format."""


def decode_classical_frame(codec: Codec, frame: Frame) -> tuple[Pixels, str]:
    """Decode and check a classical frame that names a codec's model.

    Returns uint8 pixels (height, width, channels) and the classical codec's name. Raises a
    StreamError.
    """
    header = codec.header
    prefix = frame.fingerprint_prefix
    if prefix is not None and not codec.fingerprint.startswith(prefix):
        raise ModelMismatchError(
            f"the stream names the model with fingerprint {prefix.hex()}…, "
            f"not {header.name} ({header.fingerprint[:8]}…)"
        )
    if frame.size is not None:
        raise InvalidStreamError(f"a shape, but {header.name} has only one size")
    shape = (header.height, header.width, header.channels)
    pixels = decode_classical(frame.mode, frame.payload, shape)
    frame.verify(codec.fingerprint, pixels)
    return pixels, _NAMES[frame.payload[0]] if frame.mode == NAMED_CODEC else "deflate"
