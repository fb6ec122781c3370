"""What the first image would have to wait for, done before it comes."""

import math

import numpy as np

from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_codec.quality._compress import Made, compress_with
from kompakt_codec.quality._demand import Demand, Fallback
from kompakt_codec.transforms import MANY_PIXELS


def warm_up(codec: Codec) -> None:
    """Compress and decompress flat images: loops are compiled, memory and threads allotted."""
    header = codec.header
    flat = np.zeros((header.height, header.width, header.channels), np.uint8)
    if not codec.sizes.is_one:
        side = math.isqrt(MANY_PIXELS)
        large = np.zeros((side, side, header.channels), np.uint8)
        codec.decompress(codec.compress([large]))
    for fallback in (Fallback.BEST, Fallback.NEVER):
        made = compress_with(codec, [flat], Demand(fallback=fallback), profile=Profile.EMBEDDED)
        streams = [one.stream for one in made if isinstance(one, Made)]
        codec.decompress(streams, profile=Profile.EMBEDDED)
