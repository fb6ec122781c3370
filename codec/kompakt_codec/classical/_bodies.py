"""The bodies of classical frames: the shortest for pixels, and pixels from each."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kompakt_codec.baselines import encode_at_mse, encode_lossless
from kompakt_codec.classical._avif import decode_avif, strip_avif
from kompakt_codec.classical._bound import webp_floor
from kompakt_codec.classical._deflate import (
    cut,
    deflate,
    drop_first_bit,
    inflate,
    restore_first_bit,
)
from kompakt_codec.classical._files import (
    Shape,
    decode_png_rows,
    decode_webp,
    num_row_bytes,
    png_rows,
    strip_webp,
)
from kompakt_codec.classical._parse import optimal_blocks
from kompakt_codec.errors import InvalidStreamError, UnsupportedVersionError
from kompakt_codec.frame import AVIF, DEFLATE, DEFLATE_ONE_BLOCK, NAMED_CODEC
from kompakt_codec.images import WEBP_MAX_SIDE, Pixels
from kompakt_codec.metrics import mse

_MAX_SEARCHED_BYTES = 1 << 14
"""The search takes time in the square of the bytes: a second or so for this many."""


class _Id(enum.IntEnum):
    """The first byte of a payload that names its codec; the numbers are the format's."""

    RAW = 0
    PNG = 1
    WEBP_LOSSLESS = 2
    WEBP = 3
    AVIF = AVIF


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicalBody:
    """What a frame needs to hold an image without a model."""

    mode: int
    """The frame's mode, 13 to 15."""
    payload: bytes
    codec: str
    """ "raw", "deflate", "png", "webp-lossless", "webp" or "avif"."""
    mse: float
    """Of the pixels that its decoder returns, on a scale from 0 to 1."""


def classical_name(mode: int, payload: bytes) -> str:
    """The codec of a body that decodes: a ``ClassicalBody.codec``."""
    if mode != NAMED_CODEC:
        return "deflate"
    return _Id(payload[0]).name.lower().replace("_", "-")


def encode_classical_lossless(pixels: Pixels) -> ClassicalBody:
    """The shortest lossless body found for uint8 pixels (height, width, 1 or 3).

    Its payload is shorter than each file that the baselines "deflate", "png" and "webp-lossless"
    make. That is certain for the last two; for DEFLATE it is what the search is for, and no image
    is known that it fails on. Raises BaselineUnavailableError if Pillow lacks WebP.
    """
    data = pixels.tobytes()
    deflated = encode_lossless("deflate", pixels).data
    png = encode_lossless("png", pixels).data
    bodies = [
        _named(_Id.RAW, data),
        _deflate_body(deflate(data)),
        _named(_Id.PNG, deflate(png_rows(png))),
    ]
    shortest_file = min(len(deflated), len(png))
    if max(pixels.shape) <= WEBP_MAX_SIDE:
        webp = encode_lossless("webp-lossless", pixels).data
        bodies.append(_named(_Id.WEBP_LOSSLESS, strip_webp(webp, lossless=True)))
        shortest_file = min(shortest_file, len(webp))
    best = min(bodies, key=_length)
    if _length(best) < shortest_file or len(data) > _MAX_SEARCHED_BYTES:
        return best
    for body in _searched(data):
        best = min(best, body, key=_length)
        if _length(best) < shortest_file:
            break
    return best


def encode_classical_near(pixels: Pixels, max_mse: float, qualities: range) -> ClassicalBody | None:
    """The shortest lossy body found within max_mse, by WebP of some qualities; None if none is.

    For images so large that all qualities and all lossless codecs take seconds.
    """
    found = encode_at_mse("webp", pixels, max_mse, qualities=qualities)
    return None if found is None else _webp_body(found.data, pixels)


def encode_classical(pixels: Pixels, max_mse: float) -> ClassicalBody:
    """The shortest body found for uint8 pixels (height, width, 1 or 3) with an MSE within max_mse.

    That of lossy WebP, which the baseline "webp" finds, or a lossless one. The MSE is on a scale
    from 0 to 1. Raises BaselineUnavailableError if Pillow lacks WebP.
    """
    lossless = encode_classical_lossless(pixels)
    height, width, _ = pixels.shape
    if _length(lossless) <= webp_floor(height, width):
        return lossless
    found = encode_at_mse("webp", pixels, max_mse)
    if found is None:
        return lossless
    return min(lossless, _webp_body(found.data, pixels), key=_length)


def encode_classical_avif(pixels: Pixels, max_mse: float) -> ClassicalBody | None:
    """The shortest body found within max_mse, by AVIF of any quality and chroma; None if none is.

    Takes seconds of a core for a photograph. Raises BaselineUnavailableError if Pillow lacks AVIF.
    """
    found = encode_at_mse("avif", pixels, max_mse)
    return None if found is None else avif_body(found.data, pixels)


def avif_body(file: bytes, pixels: Pixels) -> ClassicalBody:
    """The body of an AVIF file of pixels."""
    height, width, channels = pixels.shape
    obus = strip_avif(file)
    decoded = decode_avif(obus, (height, width, channels))
    return _named(_Id.AVIF, obus, mse(pixels, decoded))


def _webp_body(file: bytes, pixels: Pixels) -> ClassicalBody:
    body = strip_webp(file, lossless=False)
    height, width, channels = pixels.shape
    decoded = decode_webp(body, (height, width, channels), lossless=False)
    return _named(_Id.WEBP, body, mse(pixels, decoded))


def decode_classical(mode: int, payload: bytes, shape: Shape) -> Pixels:
    """The pixels, uint8 of this shape (height, width, 1 or 3), of a classical frame's payload.

    Takes memory for that shape and no more. Raises InvalidStreamError, CorruptStreamError or
    UnsupportedVersionError, ValueError for a mode that is not classical, and
    BaselineUnavailableError if Pillow lacks WebP or AVIF.
    """
    num_bytes = int(np.prod(shape, dtype=np.int64))
    if len(payload) > 1 + num_bytes:
        raise InvalidStreamError(
            f"a payload of {len(payload)} bytes is longer than the {num_bytes} raw pixels"
        )
    if mode == DEFLATE:
        return _pixels(inflate(payload, num_bytes), shape)
    if mode == DEFLATE_ONE_BLOCK:
        return _pixels(inflate(restore_first_bit(payload), num_bytes), shape)
    if mode != NAMED_CODEC:
        raise ValueError(f"mode {mode} is not of a classical frame")
    return _decode_named(payload, shape)


def _decode_named(payload: bytes, shape: Shape) -> Pixels:
    if not payload:
        raise InvalidStreamError("the payload is empty and names no codec")
    name, body = payload[0], payload[1:]
    if name == _Id.RAW:
        num_bytes = int(np.prod(shape, dtype=np.int64))
        if len(body) != num_bytes:
            raise InvalidStreamError(f"{len(body)} raw bytes for {num_bytes} of pixels")
        return _pixels(bytearray(body), shape)
    if name == _Id.PNG:
        return decode_png_rows(inflate(body, num_row_bytes(shape)), shape)
    if name in (_Id.WEBP_LOSSLESS, _Id.WEBP):
        return decode_webp(body, shape, lossless=name == _Id.WEBP_LOSSLESS)
    if name == _Id.AVIF:
        return decode_avif(body, shape)
    raise UnsupportedVersionError(f"the classical codec {name} is not supported")


def _pixels(data: bytearray, shape: Shape) -> Pixels:
    return np.frombuffer(data, np.uint8).reshape(shape)


def _searched(data: bytes) -> Iterator[ClassicalBody]:
    """DEFLATE by a search that zlib does not do."""
    return (_deflate_body(cut(block, data)) for block in optimal_blocks(data))


def _deflate_body(stream: bytes) -> ClassicalBody:
    is_one_block = stream[0] & 1
    return ClassicalBody(
        mode=DEFLATE_ONE_BLOCK if is_one_block else DEFLATE,
        payload=drop_first_bit(stream) if is_one_block else stream,
        codec="deflate",
        mse=0.0,
    )


def _named(codec: _Id, body: bytes, error: float = 0.0) -> ClassicalBody:
    payload = bytes([codec]) + body
    name = classical_name(NAMED_CODEC, payload)
    return ClassicalBody(mode=NAMED_CODEC, payload=payload, codec=name, mse=error)


def _length(body: ClassicalBody) -> int:
    return len(body.payload)
