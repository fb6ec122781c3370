"""Whole numbers of one to three bytes (docs/format.md, "Conventions")."""

from kompakt_codec.errors import InvalidStreamError

MAX_VARINT = (1 << 21) - 1


def pack_varint(value: int) -> bytes:
    """A number from 1 to MAX_VARINT. Raises ValueError for another."""
    if not 0 < value <= MAX_VARINT:
        raise ValueError(f"a varint must be from 1 to {MAX_VARINT}, not {value}")
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def read_varint(data: bytes, position: int, end: int, what: str) -> tuple[int, int]:
    """A number from 1 and the position after it.

    Raises InvalidStreamError if it is 0, too long, longer than need be, or goes beyond ``end``;
    the message says what is malformed.
    """
    value = 0
    for shift in (0, 7, 14):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte & 0x80:
            continue
        if byte == 0:  # a superfluous last group, or the value 0
            break
        return value, position
    raise InvalidStreamError(f"the {what} is malformed")
