"""The round trip that a checkpoint must pass before it takes traffic.

Images that every machine makes alike go through the real codec, at its coarsest, default and finest
level and one between: what was compressed must decode to the same symbols, and to pixels as they
were reported.
"""

import math
from itertools import cycle, islice

import numpy as np

from kompakt_codec.codec import Codec
from kompakt_codec.errors import StreamError
from kompakt_codec.frame import Profile, parse_frame
from kompakt_codec.images import Pixels
from kompakt_codec.quality import Demand, Fallback, Made, compress_with
from kompakt_service.errors import ServiceError


def self_test(codec: Codec) -> None:
    """Raise ServiceError SELF_TEST_FAILED unless the codec's round trips hold.

    Whatever goes wrong in the model is a failure of the test: it must not take traffic.
    """
    levels: list[float] = sorted({0, codec.header.default_level, len(codec.levels) - 1})
    if codec.levels.has_between:
        levels.append(levels[-1] - 0.5)
    sizes = _sizes(codec)
    try:
        for level, size in islice(zip(cycle(levels), cycle(sizes)), max(len(levels), len(sizes))):
            _round_trip(codec, _pictures(size, codec.header.channels), level)
    except Exception as exc:
        raise ServiceError(
            "SELF_TEST_FAILED",
            f"{codec.header.name} ({codec.header.fingerprint[:8]}) failed its self-test and takes "
            f"no traffic: {exc}",
        ) from exc


def _sizes(codec: Codec) -> list[tuple[int, int]]:
    """The codec's own size, and another if it accepts any."""
    own, sizes = (codec.header.height, codec.header.width), codec.sizes
    other = (min(own[0] + 3, sizes.most[0]), max(own[1] - 5, sizes.least[1]))
    return list(dict.fromkeys((own, other)))


def _pictures(size: tuple[int, int], channels: int) -> list[Pixels]:
    """Flat fields, a ramp, stripes and noise, uint8 (height, width, channels)."""
    shape = (*size, channels)
    rows, columns = np.indices(size)
    ramp = (rows + columns) * 255 // (sum(size) - 1)
    stripes = 255 * (columns // 3 % 2)
    grey = (np.zeros_like(ramp), np.full_like(ramp, 255), ramp, stripes)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return [*(np.broadcast_to(g[..., None], shape).astype(np.uint8) for g in grey), noise]


def _round_trip(codec: Codec, images: list[Pixels], level: float) -> None:
    demand = Demand(level=level, fallback=Fallback.NEVER)
    results = compress_with(codec, images, demand, reconstruct=True)
    made = [one for one in results if isinstance(one, Made)]
    if not all(one.mse is not None and math.isfinite(one.mse) for one in made):
        raise ValueError(f"level {level}: a picture has no finite distortion")
    symbols = np.stack([one.symbols for one in made if one.symbols is not None])
    size, levels = images[0].shape[:2], [level] * len(images)
    embedded = codec.encode(symbols, levels, size, profile=Profile.EMBEDDED)
    for profile, streams in (
        (Profile.FILE, [one.stream for one in made]),
        (Profile.EMBEDDED, embedded),
    ):
        decoded = codec.decode([parse_frame(stream, profile) for stream in streams])
        for item, sent in zip(decoded, symbols, strict=True):
            if isinstance(item, StreamError):
                raise item
            if not np.array_equal(item, sent):
                raise ValueError(f"level {level}: a stream decodes to other symbols")
