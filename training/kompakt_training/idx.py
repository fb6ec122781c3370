"""The idx format of MNIST: big-endian header, then uint8 pixels, plain or in gzip."""

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kompakt_training.errors import TrainingError

MAX_IDX_BYTES = 1 << 29

_MAGIC_UINT8_3D = b"\0\0\x08\x03"
_GZIP_MAGIC = b"\x1f\x8b"
_HEADER_BYTES = 16
_MAGIC_UINT8_1D = b"\0\0\x08\x01"
_LABELS_HEADER_BYTES = 8


def read_idx_images(path: Path) -> npt.NDArray[np.uint8]:
    """Read a file of grey images, uint8 (N, height, width). Raises TrainingError."""
    return _read(path, parse_idx_images)


def read_idx_labels(path: Path) -> npt.NDArray[np.uint8]:
    """Read a file of labels, uint8 (N,). Raises TrainingError."""
    return _read(path, parse_idx_labels)


def parse_idx_labels(data: bytes) -> npt.NDArray[np.uint8]:
    """Take unpacked idx data apart, uint8 (N,). Raises TrainingError."""
    if len(data) < _LABELS_HEADER_BYTES or not data.startswith(_MAGIC_UINT8_1D):
        raise TrainingError("not an idx file of uint8 labels")
    (count,) = struct.unpack_from(">I", data, 4)
    if len(data) - _LABELS_HEADER_BYTES != count:
        raise TrainingError(
            f"an idx file with {len(data) - _LABELS_HEADER_BYTES} labels where its header says "
            f"{count}"
        )
    return np.frombuffer(data, np.uint8, offset=_LABELS_HEADER_BYTES).copy()


def _read(path: Path, parse: Callable[[bytes], npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == _GZIP_MAGIC
        with gzip.open(path) if zipped else path.open("rb") as stream:
            data = stream.read(MAX_IDX_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
        raise TrainingError(f"{path}: a damaged gzip file: {exc}; get it again") from exc
    try:
        return parse(data)
    except TrainingError as exc:
        raise TrainingError(f"{path}: {exc}; get it again") from exc


def parse_idx_images(data: bytes) -> npt.NDArray[np.uint8]:
    """Take unpacked idx data apart, uint8 (N, height, width). Raises TrainingError."""
    if len(data) > MAX_IDX_BYTES:
        raise TrainingError(f"an idx file of over {MAX_IDX_BYTES} bytes is not accepted")
    if len(data) < _HEADER_BYTES or not data.startswith(_MAGIC_UINT8_3D):
        raise TrainingError("not an idx file of uint8 images")
    shape = struct.unpack_from(">3I", data, 4)
    num_bytes = shape[0] * shape[1] * shape[2]
    if num_bytes < 1:
        raise TrainingError(f"an idx file without images: its shape is {shape}")
    if len(data) - _HEADER_BYTES != num_bytes:
        raise TrainingError(
            f"an idx file with {len(data) - _HEADER_BYTES} bytes of pixels where its header "
            f"says {num_bytes}"
        )
    return np.frombuffer(data, np.uint8, offset=_HEADER_BYTES).reshape(shape).copy()
