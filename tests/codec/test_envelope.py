"""Envelopes: there and back, and whatever else comes."""

import contextlib
import random
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kompakt_codec.crc import crc32c
from kompakt_codec.envelope import Envelope, pack_envelope, split_envelope
from kompakt_codec.errors import (
    CorruptStreamError,
    InvalidStreamError,
    StreamError,
    UnsupportedVersionError,
)
from kompakt_codec.images import MAX_EXIF_BYTES, MAX_XMP_BYTES, Metadata

METADATA = Metadata(exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0", xmp=b"<x:xmpmeta/>")
GOLDEN = bytes.fromhex("cb4b4d230e0c15f3f4d462e06080019b0aab8adc82dcd492447d3b0068a20da7")
FRAME = b"\xcbKP and so on"

metadata = st.builds(Metadata, exif=st.binary(max_size=300), xmp=st.binary(max_size=300))


@given(metadata=metadata, frame=st.binary(max_size=20).map(lambda rest: b"\xcbKP" + rest))
def test_split_and_open_undo_pack(metadata, frame):
    envelope, rest = split_envelope(pack_envelope(metadata) + frame)

    assert rest == frame
    assert (envelope.open() if envelope else Metadata()) == metadata


def test_without_metadata_there_is_no_envelope():
    assert pack_envelope(Metadata()) == b""
    assert split_envelope(FRAME) == (None, FRAME)


@pytest.mark.parametrize(
    "metadata",
    [
        Metadata(exif=random.Random(0).randbytes(MAX_EXIF_BYTES)),
        Metadata(xmp=bytes(MAX_XMP_BYTES)),
        Metadata(exif=bytes(MAX_EXIF_BYTES), xmp=random.Random(1).randbytes(MAX_XMP_BYTES)),
    ],
)
def test_the_limits_themselves_are_allowed(metadata):
    envelope, rest = split_envelope(pack_envelope(metadata) + FRAME)

    assert rest == FRAME
    assert envelope is not None
    assert envelope.open() == metadata


def test_metadata_that_cannot_be_deflated_fits_its_limit():
    noise = np.random.default_rng(0).bytes(MAX_EXIF_BYTES + MAX_XMP_BYTES)
    dense = Metadata(exif=noise[:MAX_EXIF_BYTES], xmp=noise[MAX_EXIF_BYTES:])
    envelope, rest = split_envelope(pack_envelope(dense) + FRAME)
    assert envelope is not None
    assert (envelope.open(), rest) == (dense, FRAME)


@pytest.mark.parametrize("blocks", [{"exif": MAX_EXIF_BYTES + 1}, {"xmp": MAX_XMP_BYTES + 1}])
def test_metadata_over_a_limit_is_not_made(blocks):
    with pytest.raises(ValueError, match="limit"):
        Metadata(**{name: bytes(size) for name, size in blocks.items()})


@given(metadata=metadata.filter(bool), data=st.data())
def test_every_cut_and_flipped_bit_is_a_typed_error(metadata, data):
    sound = pack_envelope(metadata)
    cut = data.draw(st.integers(0, len(sound) - 1))
    flipped = bytearray(sound)
    flipped[data.draw(st.integers(0, len(sound) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    for damaged in (sound[:cut], bytes(flipped) + FRAME):
        try:
            envelope, rest = split_envelope(damaged)
        except StreamError:
            continue
        assert envelope is None  # the magic is not there, and a frame has another
        assert rest == damaged
        assert not damaged.startswith(b"\xcbKP")


@given(rest=st.binary(max_size=80))
def test_any_bytes_are_taken_apart_or_a_typed_error(rest):
    try:
        envelope, _ = split_envelope(b"\xcbKM" + rest)
        assert envelope is not None
        envelope.open()
    except StreamError:
        pass


@given(body=st.binary(max_size=60), length=st.integers(1, 100))
def test_any_body_opens_or_is_a_typed_error(body, length):
    envelope = Envelope(exif_bytes=length, xmp_bytes=0, body=body)
    with contextlib.suppress(InvalidStreamError):
        assert len(envelope.open().exif) == length


def sealed(opening: bytes) -> bytes:
    return opening + crc32c(opening).to_bytes(4, "little") + FRAME


def deflated(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15)


@pytest.mark.parametrize(
    ("stream", "error", "message"),
    [
        (b"\xcbKM", InvalidStreamError, "cut"),
        (b"\xcbKM\x41\x01\x01", UnsupportedVersionError, "version 2"),
        (b"\xcbKM\x01\x01\x01", UnsupportedVersionError, "version 0"),
        (b"\xcbKM\x20\x01\x01", InvalidStreamError, "head"),
        (b"\xcbKM\x25\x01\x01", InvalidStreamError, "head"),
        (b"\xcbKM\x31\x01\x01", InvalidStreamError, "head"),
        (b"\xcbKM\x21\x00\x01", InvalidStreamError, "length is malformed"),
        (b"\xcbKM\x21\x81\x00\x01", InvalidStreamError, "length is malformed"),
        (b"\xcbKM\x21\xff\xff\xff\xff\x01", InvalidStreamError, "length is malformed"),
        (b"\xcbKM\x21\xf8\xff\x03\x01", InvalidStreamError, "65528 bytes, over the limit"),
        (b"\xcbKM\x22\xe1\xff\x03\x01", InvalidStreamError, "65505 bytes, over the limit"),
        (b"\xcbKM\x21\x01\x42", InvalidStreamError, "66 bytes, over the limit of 65"),
        (b"\xcbKM\x21\x01\x03abc", InvalidStreamError, "cut"),
        (b"\xcbKM\x21\x01\x03abc----", CorruptStreamError, "check"),
    ],
)
def test_malformed_envelopes(stream, error, message):
    with pytest.raises(error, match=message):
        split_envelope(stream)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(deflated(b"ab"), id="too little"),
        pytest.param(deflated(b"abcd"), id="too much"),
        pytest.param(deflated(b"abc") + b"!", id="more after it"),
        pytest.param(deflated(b"abc")[:-1], id="no end"),
        pytest.param(b"\xff\xff", id="not DEFLATE"),
    ],
)
def test_a_body_of_another_length_is_refused_when_it_is_opened(body):
    envelope, _ = split_envelope(sealed(b"\xcbKM\x21\x03" + bytes([len(body)]) + body))

    assert envelope is not None
    with pytest.raises(InvalidStreamError, match="malformed"):
        envelope.open()


def test_a_bomb_takes_no_memory():
    envelope = Envelope(exif_bytes=10, xmp_bytes=0, body=deflated(bytes(2**26)))
    tracemalloc.start()

    with pytest.raises(InvalidStreamError):
        envelope.open()

    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_stored_envelope_stays_readable():
    envelope, rest = split_envelope(GOLDEN + FRAME)

    assert envelope is not None
    assert (envelope.open(), rest) == (METADATA, FRAME)
