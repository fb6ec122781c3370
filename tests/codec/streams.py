"""Streams as a codec reads them, whoever made them."""

import numpy as np

from kompakt_codec.codec import Codec, level_of
from kompakt_codec.errors import StreamError
from kompakt_codec.frame import Profile, parse_frame


def decoded(codec: Codec, stream: bytes, profile: Profile) -> np.ndarray:
    frame = parse_frame(stream, profile)
    if frame.is_classical:
        return codec.decode_classical(frame)[0]
    [symbols] = codec.decode([frame])
    if isinstance(symbols, StreamError):
        raise symbols
    return codec.synthesise(symbols[None], [level_of(frame)])[0]
