"""DEFLATE (RFC 1951) without what a decoder that knows the length can do without.

The decoder stops at the length that it knows, and reads as if zero bytes without end followed. So
the symbol that ends the last block goes, and so do all bytes whose loss still gives the same data.
A stream of one block also loses its first bit, which says that the block is the last.
"""

import zlib
from collections.abc import Iterator
from itertools import product

from kompakt_codec.errors import CorruptStreamError
from kompakt_codec.interruption import check_interruption

_SMALL = 1 << 16
"""Up to so many bytes every setting is tried; above, those that mostly win."""

_ZEROS = bytes(1 << 10)

_STRATEGIES = (
    zlib.Z_DEFAULT_STRATEGY,
    zlib.Z_FILTERED,
    zlib.Z_HUFFMAN_ONLY,
    zlib.Z_RLE,
    zlib.Z_FIXED,
)


def deflate(data: bytes) -> bytes:
    """The shortest stream found, cut; its first bit says whether it is one block."""
    return min((cut(stream, data) for stream in _streams(data)), key=len)


def inflate(stream: bytes, length: int) -> bytearray:
    """The first length >= 1 bytes of a stream that may be cut.

    Takes no more memory than that. Raises CorruptStreamError if there are no such bytes.
    """
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = bytearray(decompressor.decompress(stream, length))
        while len(data) < length:
            # Every symbol is short enough to be within so many zero bytes, and gives a byte.
            more = decompressor.decompress(_ZEROS, length - len(data))
            if not more:
                raise CorruptStreamError("the DEFLATE stream ends before the last pixel")
            data += more
    except zlib.error as error:
        raise CorruptStreamError(
            "no pixels lead to this DEFLATE stream: it was cut or changed"
        ) from error
    return data


def drop_first_bit(stream: bytes) -> bytes:
    """The stream one bit shorter: bits are numbered from the least significant of a byte."""
    bits = int.from_bytes(stream, "little") >> 1
    return bits.to_bytes(-(-bits.bit_length() // 8), "little")


def restore_first_bit(stream: bytes) -> bytes:
    """The stream of one block that drop_first_bit shortened."""
    return (int.from_bytes(stream, "little") << 1 | 1).to_bytes(len(stream) + 1, "little")


def _streams(data: bytes) -> Iterator[bytes]:
    levels, memory = ((9, 6), (9, 8)) if len(data) <= _SMALL else ((9,), (8,))
    for level, strategy, memory_level in product(levels, _STRATEGIES, memory):
        check_interruption()
        compressor = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, memory_level, strategy)
        yield compressor.compress(data) + compressor.flush()


def cut(stream: bytes, data: bytes) -> bytes:
    """The shortest start found that inflates to the data: ever larger cuts, then bisection."""

    def suffices(end: int) -> bool:
        try:
            return inflate(stream[:end], len(data)) == data
        except CorruptStreamError:
            return False

    good, step = len(stream), 1
    while good >= step and suffices(good - step):
        good, step = good - step, 2 * step
    while step := step // 2:
        if good >= step and suffices(good - step):
            good -= step
    return stream[:good]
