"""Images and streams as users have them, turned into messages."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeAlias, Union, runtime_checkable

from kompakt.v1 import compression_pb2 as pb
from kompakt_client._arrays import is_array, is_image, to_hwc
from kompakt_client._results import Compressed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@runtime_checkable
class PilImage(Protocol):
    """A `PIL.Image.Image`, by what is used of it."""

    @property
    def mode(self) -> str: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def load(self) -> Callable[..., object]: ...
    @property
    def tobytes(self) -> Callable[..., bytes]: ...
    @property
    def save(self) -> Callable[..., None]: ...


_Bytes: TypeAlias = bytes | bytearray | memoryview
_PathLike: TypeAlias = Union[str, "os.PathLike[str]"]

ImageInput: TypeAlias = Union[_PathLike, _Bytes, IO[bytes], "npt.NDArray[np.uint8]", PilImage]
"""An image: the path of a file, the bytes of one, a binary file object, an array
of pixels (uint8, HW or HWC with 1 or 3 channels), or a PIL image."""

StreamInput: TypeAlias = Compressed | _PathLike | _Bytes | IO[bytes]
"""A compressed stream: what `compress` returned, its bytes, or the path of a file
or a binary file object that holds them."""

_BYTES_TYPES = (bytes, bytearray, memoryview)
_PIL_CHANNELS = {"L": 1, "RGB": 3}


def is_slow(source: object) -> bool:
    """Tell whether reading this input may wait for a disk or take long."""
    return not (isinstance(source, (*_BYTES_TYPES, Compressed)) or is_array(source))


def is_one(source: Any) -> bool:
    """Tell whether this is one image or stream, although it may be iterable."""
    if is_array(source):
        return is_image(source)
    kinds = (str, os.PathLike, *_BYTES_TYPES, Compressed, PilImage)
    return isinstance(source, kinds) or hasattr(source, "read")


def to_image(source: ImageInput) -> pb.Image:
    """Turn an image into its message.

    Raises TypeError for an input of a type that is not accepted, ValueError for
    an array or a PIL image of a kind that is not, OSError for an unreadable file.
    """
    if is_array(source):
        return _image_of_array(source)
    if isinstance(source, PilImage):
        return _image_of_pil(source)
    data = _read(source)
    if data is None:
        raise TypeError(
            "an image must be a path, the bytes of a file, a binary file object, "
            f"a NumPy array or a PIL image, not {type(source).__name__}"
        )
    return pb.Image(encoded=data)


def to_stream(source: StreamInput) -> pb.CompressedImage:
    """Turn a stream into its message.

    Raises TypeError for an input of a type that is not accepted, and OSError for
    an unreadable file.
    """
    if isinstance(source, Compressed):
        return pb.CompressedImage(data=source.data, crc32c=source.crc32c)
    data = _read(source)
    if data is None:
        raise TypeError(
            "a stream must be what compress returned, bytes, a path or a binary file object, "
            f"not {type(source).__name__}"
        )
    return pb.CompressedImage(data=data)


def _read(source: Any) -> bytes | None:
    """Return the bytes that a source holds, or None if it is of no known kind."""
    if isinstance(source, _BYTES_TYPES):
        return bytes(source)
    if isinstance(source, (str, os.PathLike)):
        return Path(source).read_bytes()
    if not hasattr(source, "read"):
        return None
    data = source.read()
    if not isinstance(data, bytes):
        raise TypeError('the file object must be binary: open it with mode "rb"')
    return data


def _image_of_array(array: Any) -> pb.Image:
    pixels = to_hwc(array)
    height, width, channels = pixels.shape
    return _raw(pixels.tobytes(), height, width, channels)


def _image_of_pil(image: PilImage) -> pb.Image:
    """Send plain pixels as they are, and any other mode as a PNG, whose meaning is exact.

    A profile is left out of both, so that pixels mean the same in every mode. Raises OSError
    if its file, which Pillow reads only when it is used, cannot be read.
    """
    image.load()
    if image.mode in _PIL_CHANNELS:
        width, height = image.size
        return _raw(image.tobytes(), height, width, _PIL_CHANNELS[image.mode])
    file = io.BytesIO()
    try:
        image.save(file, format="PNG", icc_profile=None)
    except OSError as error:
        raise ValueError(
            f"a PIL image of mode {image.mode} cannot be sent: convert it to L or RGB first"
        ) from error
    return pb.Image(encoded=file.getvalue())


def _raw(data: bytes, height: int, width: int, channels: int) -> pb.Image:
    raw = pb.RawImage(data=data, height=height, width=width, channels=channels)
    return pb.Image(raw=raw)
