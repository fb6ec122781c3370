"""Requests and expectations that the service's tests share."""

import gc
import io
import re
import struct
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2

from kompakt.v1 import compression_pb2 as pb
from kompakt_codec.images import to_pillow
from kompakt_service.server import Server

Failure = tuple[grpc.StatusCode, str]
"""Status code and reason."""


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    to_pillow(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def encoded(pixels: np.ndarray) -> pb.Image:
    return pb.Image(encoded=png(pixels))


def raw(pixels: np.ndarray) -> pb.Image:
    height, width, channels = pixels.shape
    return pb.Image(
        raw=pb.RawImage(data=pixels.tobytes(), height=height, width=width, channels=channels)
    )


def png_header(height: int, width: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    fields = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + fields
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )


def details(status: status_pb2.Status) -> dict[str, Any]:
    """The unpacked details of a status by their type's name."""
    unpacked = {}
    for detail in status.details:
        message = getattr(error_details_pb2, detail.TypeName().rpartition(".")[2])()
        assert detail.Unpack(message)
        unpacked[type(message).__name__] = message
    return unpacked


def status_of(error: grpc.RpcError) -> status_pb2.Status:
    """The google.rpc.Status that came with an error."""
    metadata = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    return status


def failure(call: Callable[[], Any]) -> Failure:
    """The status code and reason with which a call fails."""
    try:
        call()
    except grpc.RpcError as exc:
        return exc.code(), details(status_of(exc))["ErrorInfo"].reason
    raise AssertionError("the call did not fail")


def item_failure(status: status_pb2.Status) -> Failure:
    """The status code and reason of an item."""
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return code, details(status)["ErrorInfo"].reason


def metrics_page(server: Server) -> str:
    url = f"http://127.0.0.1:{server.metrics_port}/metrics"
    with urllib.request.urlopen(url) as response:
        return response.read().decode()


def value(page: str, name: str, **labels: str) -> float:
    """The sum of the series of a metric that have these labels."""
    total = 0.0
    for line in page.splitlines():
        series, _, number = line.rpartition(" ")
        if re.match(rf"{name}(\{{|$)", series) and all(
            f'{k}="{v}"' in series for k, v in labels.items()
        ):
            total += float(number)
    return total


@contextmanager
def interrupted(by: Callable[[], object]) -> Iterator[None]:
    """Run something whenever an object is made, as other threads may: a collection lets them."""

    def run(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            by()

    threshold = gc.get_threshold()
    gc.callbacks.append(run)
    gc.set_threshold(1)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(run)
