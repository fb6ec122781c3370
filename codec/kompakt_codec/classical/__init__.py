"""Images as the classics write them, for the frames of images that a model is no good for.

A body is a frame's mode and payload (docs/format.md, "Classical frames"): raw pixels, DEFLATE, PNG
or WebP without what the decoder knows already, so that the frame around it costs nothing more.
"""

from kompakt_codec.classical._bodies import (
    ClassicalBody,
    avif_body,
    classical_name,
    decode_classical,
    encode_classical,
    encode_classical_avif,
    encode_classical_lossless,
    encode_classical_near,
)
from kompakt_codec.classical._bound import cannot_win, lossy_floor

__all__ = [
    "ClassicalBody",
    "avif_body",
    "cannot_win",
    "classical_name",
    "decode_classical",
    "encode_classical",
    "encode_classical_avif",
    "encode_classical_lossless",
    "encode_classical_near",
    "lossy_floor",
]
