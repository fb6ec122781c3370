"""The exceptions of the client, and which one stands for which failure.

KompaktError
├── InvalidRequestError         the request cannot be served as it is
│   ├── InvalidImageError       not an image of an accepted format, or damaged
│   ├── UnsupportedImageError   a pixel type that is not accepted
│   ├── WrongSizeError          a size or channels that the model does not accept
│   ├── ImageTooLargeError      over the server's limit on pixels or bytes
│   └── MessageTooLargeError    over the transport's limit on a message
├── QualityUnreachableError     no stream of the image meets the demanded quality
├── UnknownModelError           no loaded model has this name
├── ModelChangeError            the loaded models cannot be changed so
├── StreamError                 the compressed stream cannot be decoded
│   ├── InvalidStreamError      not a Kompakt stream, empty, or malformed
│   ├── CorruptStreamError      cut or changed on its way
│   ├── ModelMismatchError      made by a model that is not loaded
│   └── UnsupportedVersionError made by a newer version of the format
├── AuthenticationError         the token or certificate was refused, or this caller may not
├── OverloadedError             the server is busy
├── DeadlineExceededError       no answer in time
├── UnavailableError            no connection, or the server is shutting down
└── ServerError                 a defect of the server
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

ERROR_DOMAIN = "kompakt.v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldViolation:
    """One field of a request that is at fault."""

    field: str
    """The field's path, such as "options.model"."""
    description: str
    """What is wrong with it."""


class KompaktError(Exception):
    """A call, or one item of it, failed.

    `code` is the name of the gRPC status code, such as "NOT_FOUND"; `reason` the
    contract's stable word, such as "UNKNOWN_MODEL", or empty if the failure did
    not come from a Kompakt server. `violations` are the fields at fault, where
    the server named some, `retry_after` the seconds after which it asks to be
    called again, and `metadata` further facts that it gave.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "UNKNOWN",
        reason: str = "",
        violations: tuple[FieldViolation, ...] = (),
        retry_after: float | None = None,
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.violations = violations
        self.retry_after = retry_after
        self.metadata = dict(metadata)

    @property
    def of_item(self) -> bool:
        """Whether one image or stream failed, rather than the call as such."""
        return self.reason in _ITEM_REASONS

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later."""
        busy = self.code == "RESOURCE_EXHAUSTED" and self.retry_after is not None
        return busy or self.code == "UNAVAILABLE"


class InvalidRequestError(KompaktError):
    """The request cannot be served as it is."""


class InvalidImageError(InvalidRequestError):
    """Not an image of an accepted format, or damaged."""


class UnsupportedImageError(InvalidRequestError):
    """The image's pixel type is not accepted."""


class WrongSizeError(InvalidRequestError):
    """The model does not accept the image's height, width or channels."""


class ImageTooLargeError(InvalidRequestError):
    """The image has more pixels or bytes than the server's limit."""


class MessageTooLargeError(InvalidRequestError):
    """A request or its answer is over the transport's limit on a message."""

    @property
    def of_item(self) -> bool:
        """Whether one image or stream failed: it does if it was alone in its message."""
        return True


class QualityUnreachableError(KompaktError):
    """No stream of the image meets the demanded quality; the properties tell what is met."""

    @property
    def size_bytes(self) -> int | None:
        """The nearest stream's length, all framing included; None if the server told none."""
        return int(self.metadata["size_bytes"]) if "size_bytes" in self.metadata else None

    @property
    def mse(self) -> float | None:
        """A mean squared error on [0, 1] that the nearest stream meets, demanded as ``max_mse``."""
        return float(self.metadata["mse"]) if "mse" in self.metadata else None

    @property
    def psnr_db(self) -> float | None:
        """10 log10(1 / mse) in dB; None if mse is 0."""
        return float(self.metadata["psnr_db"]) if "psnr_db" in self.metadata else None


class UnknownModelError(KompaktError):
    """No loaded model has this name."""


class ModelChangeError(KompaktError):
    """The loaded models cannot be changed so; the reason tells why, and nothing has changed."""


class StreamError(KompaktError):
    """The compressed stream cannot be decoded."""


class InvalidStreamError(StreamError):
    """Not a Kompakt stream, empty, or malformed."""


class CorruptStreamError(StreamError):
    """The stream was cut or changed on its way; fetch it again."""


class ModelMismatchError(StreamError):
    """No loaded model has the fingerprint that the stream names."""


class UnsupportedVersionError(StreamError):
    """The server does not know this version or mode of the format."""


class AuthenticationError(KompaktError):
    """The server refused the token or the certificate, or does not let this caller do it."""


class OverloadedError(KompaktError):
    """The server is busy; `retry_after` says when to come back."""


class DeadlineExceededError(KompaktError):
    """No answer came in time."""


class UnavailableError(KompaktError):
    """There is no connection, or the server is shutting down."""


class ServerError(KompaktError):
    """The server failed; the request is not at fault."""


REASONS: dict[str, type[KompaktError]] = {
    "NO_IMAGES": InvalidRequestError,
    "TOO_MANY_IMAGES": InvalidRequestError,
    "INVALID_FIELD": InvalidRequestError,
    "INVALID_IMAGE": InvalidImageError,
    "UNSUPPORTED_IMAGE": UnsupportedImageError,
    "WRONG_SIZE": WrongSizeError,
    "IMAGE_TOO_LARGE": ImageTooLargeError,
    "BASELINE_UNAVAILABLE": InvalidRequestError,
    "UNKNOWN_MODEL": UnknownModelError,
    "INVALID_CHECKPOINT": ModelChangeError,
    "CHECKPOINT_NOT_FOUND": ModelChangeError,
    "VERSION_LOADED": ModelChangeError,
    "SELF_TEST_FAILED": ModelChangeError,
    "MODEL_IN_USE": ModelChangeError,
    "NO_EARLIER_VERSION": ModelChangeError,
    "ADMIN_REFUSED": AuthenticationError,
    "QUALITY_UNREACHABLE": QualityUnreachableError,
    "INVALID_STREAM": InvalidStreamError,
    "CORRUPT_STREAM": CorruptStreamError,
    "MODEL_MISMATCH": ModelMismatchError,
    "UNSUPPORTED_VERSION": UnsupportedVersionError,
    "QUEUE_FULL": OverloadedError,
    "SHUTTING_DOWN": UnavailableError,
    "INTERNAL_ERROR": ServerError,
}
"""The class for each reason of the contract."""

_ITEM_REASONS = frozenset(
    reason for reason, kind in REASONS.items() if kind is not ModelChangeError
) - {
    "ADMIN_REFUSED",
    "NO_IMAGES",
    "TOO_MANY_IMAGES",
    "INVALID_FIELD",
    "UNKNOWN_MODEL",
    "QUEUE_FULL",
    "SHUTTING_DOWN",
}
"""The reasons for which one item can fail while its neighbours do not."""

_CODES: dict[str, type[KompaktError]] = {
    "INVALID_ARGUMENT": InvalidRequestError,
    "NOT_FOUND": UnknownModelError,
    "DATA_LOSS": CorruptStreamError,
    "FAILED_PRECONDITION": ModelMismatchError,
    "UNAUTHENTICATED": AuthenticationError,
    "PERMISSION_DENIED": AuthenticationError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "UNAVAILABLE": UnavailableError,
}
"""The class for a code that came without a known reason, as from a proxy."""


def error_class(code: str, reason: str, *, retry_after: float | None) -> type[KompaktError]:
    """Return the class for a failure; by the contract its reason decides."""
    if reason in REASONS:
        return REASONS[reason]
    if code == "RESOURCE_EXHAUSTED":
        return MessageTooLargeError if retry_after is None else OverloadedError
    return _CODES.get(code, ServerError)
