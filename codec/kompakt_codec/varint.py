"""Whole numbers of a few bytes (docs/format.md, "Conventions")."""

from kompakt_codec.errors import InvalidStreamError

MAX_BYTES = 3
MAX_VARINT = (1 << 7 * MAX_BYTES) - 1


def pack_varint(value: int, *, least: int = 1, most_bytes: int = MAX_BYTES) -> bytes:
    """A number from ``least`` that takes ``most_bytes`` or fewer. Raises ValueError for another."""
    most = (1 << 7 * most_bytes) - 1
    if not least <= value <= most:
        raise ValueError(f"a varint must be from {least} to {most}, not {value}")
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def read_varint(
    data: bytes,
    position: int,
    end: int,
    what: str,
    *,
    least: int = 1,
    most_bytes: int = MAX_BYTES,
) -> tuple[int, int]:
    """A number and the position after it.

    Raises InvalidStreamError if it is below ``least``, too long, longer than need be, or goes
    beyond ``end``; the message says what is malformed.
    """
    value = 0
    for count in range(most_bytes):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << 7 * count
        if byte & 0x80:
            continue
        if value < least or (byte == 0 and count):  # a superfluous last group
            break
        return value, position
    raise InvalidStreamError(f"the {what} is malformed")
