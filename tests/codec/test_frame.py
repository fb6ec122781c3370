import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kompakt_codec.errors import (
    CorruptStreamError,
    InvalidStreamError,
    StreamError,
    UnsupportedVersionError,
)
from kompakt_codec.frame import Profile, mode_of, pack_frame, parse_frame
from kompakt_codec.varint import MAX_VARINT

FINGERPRINT = bytes(range(32))
SYMBOLS = np.array([[[3]], [[-2]], [[0]]], np.int16)

sizes = st.none() | st.tuples(st.integers(1, MAX_VARINT), st.integers(1, MAX_VARINT))
profiles = st.sampled_from(Profile)


def pack(payload: bytes, profile: Profile, size: tuple[int, int] | None = None) -> bytes:
    return pack_frame(payload, SYMBOLS, FINGERPRINT, profile=profile, size=size)


@given(payload=st.binary(max_size=50), profile=profiles, size=sizes)
def test_parse_undoes_pack(payload, profile, size):
    frame = parse_frame(pack(payload, profile, size), profile)

    assert frame.payload == payload
    assert frame.size == size
    assert frame.fingerprint_prefix == (FINGERPRINT[:4] if profile is Profile.FILE else None)
    frame.verify(FINGERPRINT, SYMBOLS)


@given(payload=st.binary(max_size=50), profile=profiles, size=sizes, steps=st.integers(1, 95))
def test_levels_between_two_come_back(payload, profile, size, steps):
    level = steps / 8
    mode, prefix = mode_of(level)
    stream = pack_frame(
        prefix + payload, SYMBOLS, FINGERPRINT, profile=profile, mode=mode, size=size
    )

    frame = parse_frame(stream, profile)

    assert (frame.payload, frame.size, frame.level) == (payload, size, level)
    assert not frame.is_classical
    whole = parse_frame(pack(payload, profile, size), profile)
    assert len(stream) - len(prefix) == len(pack(payload, profile, size))
    assert len(prefix) == (2 if steps % 8 else 0)
    frame.verify(FINGERPRINT, SYMBOLS)
    if profile is Profile.EMBEDDED:  # a check of one byte, which may be the same
        return
    with pytest.raises(CorruptStreamError):
        dataclasses.replace(frame, opening=whole.opening).verify(FINGERPRINT, SYMBOLS)


@pytest.mark.parametrize("payload", [b"\5", b"\5\0", b"\5\x08payload"])
def test_a_whole_level_is_not_written_as_one_between(payload):
    stream = pack_frame(payload, SYMBOLS, FINGERPRINT, profile=Profile.EMBEDDED, mode=14)
    with pytest.raises(InvalidStreamError, match="no rate level between"):
        parse_frame(stream, Profile.EMBEDDED)


@pytest.mark.parametrize(("profile", "overhead"), [(Profile.FILE, 12), (Profile.EMBEDDED, 2)])
def test_framing_costs_what_the_format_says(profile, overhead):
    assert len(pack(b"payload", profile)) == len(b"payload") + overhead


@given(data=st.binary(max_size=64), profile=profiles)
def test_any_bytes_parse_or_raise_a_typed_error(data, profile):
    try:
        parse_frame(data, profile)
    except StreamError:
        return
    assert data[3 if profile is Profile.FILE else 0] >> 5 == 1


@given(data=st.data(), payload=st.binary(max_size=20), size=sizes)
def test_a_flipped_bit_outside_the_payload_never_passes_a_file(data, payload, size):
    stream = bytearray(pack(payload, Profile.FILE, size))
    position = data.draw(st.integers(0, 8 * len(stream) - 1))
    stream[position // 8] ^= 1 << position % 8
    with_payload_intact = parse_or_none(bytes(stream))
    if with_payload_intact is None or with_payload_intact.payload != payload:
        return
    # Same payload, so the decoder gets the same symbols: only the check can tell.
    if with_payload_intact.fingerprint_prefix != FINGERPRINT[:4]:
        return  # the model store refuses it
    with pytest.raises(CorruptStreamError):
        with_payload_intact.verify(FINGERPRINT, SYMBOLS)


def parse_or_none(stream: bytes):
    try:
        return parse_frame(stream, Profile.FILE)
    except StreamError:
        return None


@pytest.mark.parametrize("change", [{"fingerprint": bytes(32)}, {"symbols": SYMBOLS + 1}])
def test_the_check_covers_model_and_symbols(change):
    frame = parse_frame(pack(b"x", Profile.EMBEDDED), Profile.EMBEDDED)
    with pytest.raises(CorruptStreamError):
        frame.verify(change.get("fingerprint", FINGERPRINT), change.get("symbols", SYMBOLS))


GOOD = pack(b"payload", Profile.FILE)
SHAPED = pack(b"", Profile.FILE, (300, 5))


@pytest.mark.parametrize(
    ("stream", "error", "message"),
    [
        (b"", InvalidStreamError, "the stream is empty"),
        (b"\x89PNG\r\n\x1a\n----------", InvalidStreamError, "magic"),
        (GOOD[:2], InvalidStreamError, "magic"),
        (GOOD[:11], InvalidStreamError, "11 bytes are too few"),
        (GOOD[:3] + b"\x40" + GOOD[4:], UnsupportedVersionError, "version 2"),
        (GOOD[:3] + b"\x00" + GOOD[4:], UnsupportedVersionError, "version 0"),
        (GOOD[:3] + b"\x30" + GOOD[4:8] + b"\x80\x80\x80\x01\x01----", InvalidStreamError, "shape"),
        (GOOD[:3] + b"\x30" + GOOD[4:8] + b"\x00\x05----", InvalidStreamError, "shape"),
        (GOOD[:3] + b"\x30" + GOOD[4:8] + b"\x85\x00\x05----", InvalidStreamError, "shape"),
        (GOOD[:3] + b"\x30" + GOOD[4:8] + b"\x05----", InvalidStreamError, "shape"),
        (SHAPED[:8] + SHAPED[11:], InvalidStreamError, "shape"),
    ],
)
def test_malformed_frames(stream, error, message):
    with pytest.raises(error, match=message):
        parse_frame(stream, Profile.FILE)


def test_malformed_embedded_frames():
    for stream in (b"", b"\x20"):
        with pytest.raises(InvalidStreamError, match="too few"):
            parse_frame(stream, Profile.EMBEDDED)
