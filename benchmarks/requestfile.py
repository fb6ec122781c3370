"""Files of requests, serialised before the clock starts, each after its length."""

import struct
from collections.abc import Iterable
from pathlib import Path

_LENGTH = struct.Struct("<I")


def write_requests(path: Path, requests: Iterable[bytes]) -> Path:
    """Write requests, each after its length."""
    path.write_bytes(b"".join(_LENGTH.pack(len(one)) + one for one in requests))
    return path


def read_requests(path: Path) -> list[bytes]:
    """Read what ``write_requests`` wrote."""
    data = path.read_bytes()
    requests, at = [], 0
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        requests.append(data[at : at + length])
        at += length
    return requests
