"""Frames: what stands around a payload (docs/format.md, "Frame")."""

import enum
import functools
import sys
from dataclasses import dataclass

import numpy as np

from kompakt_codec.crc import crc32c, extend
from kompakt_codec.entropy import Symbols
from kompakt_codec.errors import CorruptStreamError, InvalidStreamError, UnsupportedVersionError
from kompakt_codec.images import Pixels
from kompakt_codec.varint import pack_varint, read_varint

MAGIC = b"\xcbKP"
VERSION = 1
FINGERPRINT_PREFIX_BYTES = 4

MAX_LEVELS = 13
"""How many rate levels a model may have: modes 0 to 12."""
LEVEL_STEPS = 8
"""Steps from a rate level to the next, of models that have levels between."""
DEFLATE = 13
NAMED_CODEC = 14
"""The mode of a frame whose payload's first byte names the codec."""
AVIF = 4
"""The first byte of a payload that is an AV1 picture."""
BETWEEN = 5
"""The first byte of a payload of a model's symbols between two levels; the second says where."""
_AVIF_NAME, _BETWEEN_NAME = bytes([AVIF]), bytes([BETWEEN])
DEFLATE_ONE_BLOCK = 15

_IS_LITTLE = sys.byteorder == "little"
_SMALL = 1 << 20
_HAS_SHAPE = 0x10
_MODE_MASK = 0x0F


class Profile(enum.Enum):
    """How much a frame says of itself."""

    FILE = "file"
    EMBEDDED = "embedded"


_CHECK_BYTES = {Profile.FILE: 4, Profile.EMBEDDED: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A frame taken apart, its payload not yet decoded."""

    profile: Profile
    fingerprint_prefix: bytes | None
    """4 bytes; None in the embedded profile."""
    opening: bytes
    """What the check covers beside what was decoded: the head, the shape, the codec's number."""
    level: float | None
    """The rate level of the model's symbols; None in a classical frame."""
    size: tuple[int, int] | None
    """(height, width) in pixels if the frame says it."""
    payload: bytes
    """The entropy-coded symbols, or the classical codec's number and bytes."""
    check: bytes

    @property
    def mode(self) -> int:
        """0 to 15: a whole rate level, or how else the payload is coded."""
        return self.opening[0] & _MODE_MASK

    @property
    def is_classical(self) -> bool:
        """Whether the payload is a classical codec's, without symbols of the model."""
        return self.level is None

    def verify(self, fingerprint: bytes, decoded: Symbols | Pixels) -> None:
        """Raise CorruptStreamError unless the check matches what was decoded.

        That is the symbols, or in a classical frame the uint8 pixels (height, width, channels). Of
        an AV1 picture its bytes are checked instead.
        """
        checked = decoded if self.level is not None else _checked(self.mode, self.payload, decoded)
        if _check(self.profile, fingerprint, self.opening, checked) != self.check:
            message = "the check does not match: the stream was cut or changed"
            if self.profile is Profile.EMBEDDED:
                message += ", or another model made it"
            raise CorruptStreamError(message)


def pack_frame(
    payload: bytes,
    decoded: Symbols | Pixels,
    fingerprint: bytes,
    *,
    profile: Profile,
    mode: int = 0,
    size: tuple[int, int] | None = None,
) -> bytes:
    """Frame a payload and the check over what it decodes to.

    ``decoded`` is the symbols, for the mode and after the prefix of ``mode_of``, or in a classical
    frame the uint8 pixels (height, width, channels). ``size`` (height, width) is only for a model
    that accepts several.
    """
    head_and_shape, opening = _opening(fingerprint, profile, mode, size)
    name = payload[: _name_bytes(mode, payload)]
    checked = _checked(mode, payload, decoded)
    check = _check(profile, fingerprint, head_and_shape + name, checked)
    return opening + payload + check


def mode_of(level: float) -> tuple[int, bytes]:
    """The mode of a frame of symbols at a rate level, and what stands before its payload.

    Raises ValueError for what no model's level can be.
    """
    if not 0 <= level < MAX_LEVELS or level * LEVEL_STEPS % 1:
        raise ValueError(f"no rate level: {level}")
    if level == int(level):
        return int(level), b""
    return NAMED_CODEC, bytes([BETWEEN, int(level * LEVEL_STEPS)])


def framing_bytes(profile: Profile, size: tuple[int, int] | None) -> int:
    """How many bytes a frame takes beside its payload, for a ``size`` that is to be written."""
    return len(_opening(bytes(32), profile, 0, size)[1]) + _CHECK_BYTES[profile]


@functools.lru_cache(1024)
def _opening(
    fingerprint: bytes, profile: Profile, mode: int, size: tuple[int, int] | None
) -> tuple[bytes, bytes]:
    """The head with the shape, and all that stands before the payload."""
    head = bytes([VERSION << 5 | (_HAS_SHAPE if size else 0) | mode])
    shape = b"".join(pack_varint(n) for n in size or ())
    if profile is Profile.EMBEDDED:
        return head + shape, head + shape
    return head + shape, MAGIC + head + fingerprint[:FINGERPRINT_PREFIX_BYTES] + shape


def parse_frame(data: bytes, profile: Profile) -> Frame:
    """Take a frame apart.

    Whether the model has the frame's rate level is for the model's decoder to say. Raises
    InvalidStreamError or UnsupportedVersionError.
    """
    in_file = profile is Profile.FILE
    start = len(MAGIC) if in_file else 0
    body = start + 1 + (FINGERPRINT_PREFIX_BYTES if in_file else 0)
    end = len(data) - _CHECK_BYTES[profile]
    if in_file and not data.startswith(MAGIC):
        raise InvalidStreamError(_describe_foreign(data))
    if body > end:
        raise InvalidStreamError(f"{len(data)} bytes are too few for a {profile.value} frame")
    head = data[start]
    if head >> 5 != VERSION and not in_file and data.startswith(MAGIC):
        raise InvalidStreamError("an embedded stream was announced, but this is a file's")
    if head >> 5 != VERSION:
        raise UnsupportedVersionError(f"frame version {head >> 5} is not supported, only {VERSION}")
    size, position = _read_size(data, body, end) if head & _HAS_SHAPE else (None, body)
    mode, payload = head & _MODE_MASK, data[position:end]
    name = payload[: _name_bytes(mode, payload)]
    level: float | None = mode if mode < MAX_LEVELS else None
    if name[:1] == _BETWEEN_NAME:
        level, payload = _level_between(name), payload[len(name) :]
    return Frame(
        profile=profile,
        fingerprint_prefix=data[start + 1 : body] if in_file else None,
        opening=data[start : start + 1] + data[body:position] + name,
        level=level,
        size=size,
        payload=payload,
        check=data[end:],
    )


def _check(
    profile: Profile, fingerprint: bytes, opening: bytes, decoded: Symbols | Pixels
) -> bytes:
    if decoded.dtype != np.uint8 and not _IS_LITTLE:
        decoded = decoded.astype("<i2")
    # A view of what is large takes no memory; a copy of what is small is faster.
    is_small = decoded.nbytes < _SMALL or not decoded.flags.c_contiguous
    data = decoded.tobytes() if is_small else decoded.reshape(-1).view(np.uint8)
    value = extend(_crc_of(fingerprint + opening), data)
    return value.to_bytes(4, "little")[: _CHECK_BYTES[profile]]


_crc_of = functools.lru_cache(1024)(crc32c)
"""Of what stands before the symbols, which is the same for most frames."""


def _name_bytes(mode: int, payload: bytes) -> int:
    """How many of a payload's first bytes name its codec."""
    if mode != NAMED_CODEC:
        return 0
    return 2 if payload[:1] == _BETWEEN_NAME else 1


def _level_between(name: bytes) -> float:
    steps = name[1] if len(name) > 1 else 0
    if not steps % LEVEL_STEPS:
        raise InvalidStreamError("no rate level between two where the stream announces one")
    return steps / LEVEL_STEPS


def _checked(mode: int, payload: bytes, decoded: Symbols | Pixels) -> Symbols | Pixels:
    """What the check covers: what AV1 leaves open, how colours become RGB, is not to break it."""
    is_avif = mode == NAMED_CODEC and payload[:1] == _AVIF_NAME
    return np.frombuffer(payload, np.uint8, offset=1) if is_avif else decoded


def _describe_foreign(data: bytes) -> str:
    if not data:
        return "the stream is empty"
    return (
        "not a Kompakt file: it does not begin with the magic bytes CB 4B 50 "
        "(an embedded stream needs its profile and its model's name)"
    )


def _read_size(data: bytes, position: int, end: int) -> tuple[tuple[int, int], int]:
    height, position = read_varint(data, position, end, "shape")
    width, position = read_varint(data, position, end, "shape")
    return (height, width), position
