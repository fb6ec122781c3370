"""Client of Kompakt, a service that compresses images with neural codecs.

    from kompakt_client import Client

    with Client("localhost:50051") as client:
        compressed = client.compress("digit.png", model="mnist-ae")
        client.decompress_to(compressed, "back.png")

The clients are loaded when they are first used, since gRPC is slow to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kompakt_client._errors import (
    AuthenticationError,
    CorruptStreamError,
    DeadlineExceededError,
    FieldViolation,
    ImageTooLargeError,
    InvalidImageError,
    InvalidRequestError,
    InvalidStreamError,
    KompaktError,
    MessageTooLargeError,
    ModelChangeError,
    ModelMismatchError,
    OverloadedError,
    QualityUnreachableError,
    ServerError,
    StreamError,
    UnavailableError,
    UnknownModelError,
    UnsupportedImageError,
    UnsupportedVersionError,
    WrongSizeError,
)
from kompakt_client._measurements import (
    Evaluation,
    ImageEvaluation,
    MeasuredQuality,
    Measurement,
    ModelInfo,
    ServerInfo,
    SizeRange,
    TrainingInfo,
)
from kompakt_client._results import Compressed, Decompressed, Failure, Timings
from kompakt_client._retry import RetryPolicy

if TYPE_CHECKING:
    from kompakt_client._async_client import AsyncClient
    from kompakt_client._client import Client
    from kompakt_client._inputs import ImageInput, StreamInput

    __version__: str

__all__ = [
    "AsyncClient",
    "AuthenticationError",
    "Client",
    "Compressed",
    "CorruptStreamError",
    "DeadlineExceededError",
    "Decompressed",
    "Evaluation",
    "Failure",
    "FieldViolation",
    "ImageEvaluation",
    "ImageInput",
    "ImageTooLargeError",
    "InvalidImageError",
    "InvalidRequestError",
    "InvalidStreamError",
    "KompaktError",
    "MeasuredQuality",
    "Measurement",
    "MessageTooLargeError",
    "ModelChangeError",
    "ModelInfo",
    "ModelMismatchError",
    "OverloadedError",
    "QualityUnreachableError",
    "RetryPolicy",
    "ServerError",
    "ServerInfo",
    "SizeRange",
    "StreamError",
    "StreamInput",
    "Timings",
    "TrainingInfo",
    "UnavailableError",
    "UnknownModelError",
    "UnsupportedImageError",
    "UnsupportedVersionError",
    "WrongSizeError",
    "__version__",
]

_LAZY = {
    "AsyncClient": "_async_client",
    "Client": "_client",
    "ImageInput": "_inputs",
    "StreamInput": "_inputs",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("kompakt")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return __all__
