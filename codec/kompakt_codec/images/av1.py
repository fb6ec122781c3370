"""AV1's units as far as the sizes in them, so that they are known before a decoder takes memory.

The numbers of sections are those of the AV1 Bitstream & Decoding Process Specification.
"""

from collections.abc import Iterator
from dataclasses import dataclass

SEQUENCE_HEADER, DELIMITER, FRAME_HEADER, TILES, METADATA = 1, 2, 3, 4, 5
FRAME, FRAME_HEADER_AGAIN, PADDING = 6, 7, 15
"""Types of open bitstream units (OBUs)."""

_MOST_HEADER_BYTES = 512
"""What is looked at of a unit: no sequence header is longer, even with 32 operating points."""
_MOST_SIZE_BYTES = 8
_HIGH, _PROFESSIONAL = 1, 2
"""Profiles."""
_KEY, _SWITCH = 0, 3
"""Types of frames."""
_CHOSEN = 2
"""Of a tool: each frame's header says whether it is used."""


class _Bits:
    """Numbers of some bits, the highest first; after the end come zeros."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        value = self._value >> self._left if self._left >= 0 else self._value << -self._left
        return value & ((1 << count) - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceHeader:
    """What a sequence header says of all its frames."""

    profile: int
    level: int
    """Of the first operating point."""
    is_still: bool
    """Whether it is reduced, for one still picture."""
    is_deep: bool
    """Whether samples have more than 8 bits."""
    is_grey: bool
    """Whether it has no colour."""
    height: int
    width: int
    side_bits: tuple[int, int]
    """Bits of the height and the width in a frame that has a size of its own."""
    delay_bits: int = 0
    screen_content: int = _CHOSEN
    integer_motion: int = _CHOSEN
    id_bits: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames that have none of their own."""
        return self.height, self.width

    def frame_size(self, header: bytes) -> tuple[int, int]:
        """At least the height and width of the frame with this header (5.9.2).

        A frame's own size lies behind much else, so the greatest that fits its bits stands for it.
        Decoders do not hold it to the sequence's.
        """
        if self.is_still or not self._has_own_size(_Bits(header)):
            return self.size
        height_bits, width_bits = self.side_bits
        return 1 << height_bits, 1 << width_bits

    def _has_own_size(self, bits: _Bits) -> bool:
        if bits.take(1):  # a frame that was decoded before is shown
            return False
        kind, is_shown = bits.take(2), bits.take(1)
        bits.take(self.delay_bits if is_shown else 1)
        if kind != _SWITCH and not (kind == _KEY and is_shown):
            bits.take(1)  # whether it is resilient to errors
        bits.take(1)
        chosen = self.screen_content == _CHOSEN
        has_screen_content = bits.take(1) if chosen else self.screen_content
        if has_screen_content and self.integer_motion == _CHOSEN:
            bits.take(1)
        bits.take(self.id_bits)
        return kind == _SWITCH or bits.take(1) == 1


def read_units(data: memoryview | bytes) -> Iterator[tuple[int, bytes]]:
    """The type and the first bytes of each unit (5.3), up to where a decoder gives up too."""
    position = 0
    while position < len(data):
        head = data[position]
        position += 2 if head & 0b100 else 1
        end = len(data)
        if head & 0b10:
            size, position = _read_size(data, position)
            end = position + size
        if end > len(data):
            return
        yield head >> 3 & 0xF, bytes(data[position : min(end, position + _MOST_HEADER_BYTES)])
        position = end


def _read_size(data: memoryview | bytes, position: int) -> tuple[int, int]:
    """A number of the format leb128 and the position after it; one without an end is too great."""
    size = 0
    for index, byte in enumerate(data[position : position + _MOST_SIZE_BYTES]):
        size |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return size, position + index + 1
    return len(data) + 1, position


def read_sequence_header(data: bytes) -> SequenceHeader:
    """A sequence header up to whether its samples are grey (5.5.1, 5.5.2)."""
    bits = _Bits(data[:_MOST_HEADER_BYTES])
    profile = bits.take(3)
    is_still = bits.take(2) == 0b11
    level, delay_bits = (bits.take(5), 0) if is_still else _read_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    width, height = bits.take(width_bits) + 1, bits.take(height_bits) + 1
    id_bits, screen_content, integer_motion = 0, _CHOSEN, _CHOSEN
    if not is_still and bits.take(1):
        id_bits = bits.take(4) + 2 + bits.take(3) + 1
    bits.take(3)  # tools of the encoder
    if not is_still:
        screen_content, integer_motion = _read_video_tools(bits)
    bits.take(3)
    is_deep = bits.take(1) == 1
    if profile == _PROFESSIONAL and is_deep:
        bits.take(1)  # whether it has 12
    is_grey = profile != _HIGH and bits.take(1) == 1
    return SequenceHeader(
        profile=profile,
        level=level,
        is_still=is_still,
        is_deep=is_deep,
        is_grey=is_grey,
        height=height,
        width=width,
        side_bits=(height_bits, width_bits),
        delay_bits=delay_bits,
        screen_content=screen_content,
        integer_motion=integer_motion,
        id_bits=id_bits,
    )


def _read_operating_points(bits: _Bits) -> tuple[int, int]:
    """The first point's level, and the bits that a shown frame's delay takes."""
    has_model, buffer_bits, delay_bits = 0, 0, 0
    if bits.take(1):  # timing
        bits.take(64)
        has_equal_intervals = bits.take(1)
        if has_equal_intervals:
            _skip_variable_length(bits)
        has_model = bits.take(1)
        if has_model:
            buffer_bits = bits.take(5) + 1
            bits.take(37)
            frame_delay_bits = bits.take(5) + 1
            delay_bits = 0 if has_equal_intervals else frame_delay_bits
    has_display_delay = bits.take(1)
    levels = []
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        levels.append(bits.take(5))
        if levels[-1] > 7:
            bits.take(1)
        if has_model and bits.take(1):
            bits.take(2 * buffer_bits + 1)
        if has_display_delay and bits.take(1):
            bits.take(4)
    return levels[0], delay_bits


def _skip_variable_length(bits: _Bits) -> None:
    """A number of the format uvlc (4.10.3)."""
    for zeros in range(32):
        if bits.take(1):
            bits.take(zeros)
            return


def _read_video_tools(bits: _Bits) -> tuple[int, int]:
    """Whether frames use tools for screen content and motion by whole pixels."""
    bits.take(4)
    has_order = bits.take(1)
    if has_order:
        bits.take(2)
    screen_content = _CHOSEN if bits.take(1) else bits.take(1)
    integer_motion = _CHOSEN
    if screen_content and not bits.take(1):
        integer_motion = bits.take(1)
    if has_order:
        bits.take(3)
    return screen_content, integer_motion
