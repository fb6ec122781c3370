"""The service's errors, and the one table from reasons to gRPC status codes."""

from collections.abc import Mapping

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from kompakt_codec.errors import CodecError
from kompakt_codec.metrics import psnr_db
from kompakt_codec.quality import QualityUnreachableError

DOMAIN = "kompakt.v1"
DETAILS_KEY = "grpc-status-details-bin"
_MAX_MESSAGE = 1000
"""Characters. It travels three times in trailing metadata, of which gRPC takes 8 KiB."""

STATUS_CODES: Mapping[str, grpc.StatusCode] = {
    "NO_IMAGES": grpc.StatusCode.INVALID_ARGUMENT,
    "TOO_MANY_IMAGES": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_FIELD": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_IMAGE": grpc.StatusCode.INVALID_ARGUMENT,
    "UNSUPPORTED_IMAGE": grpc.StatusCode.INVALID_ARGUMENT,
    "WRONG_SIZE": grpc.StatusCode.INVALID_ARGUMENT,
    "IMAGE_TOO_LARGE": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_STREAM": grpc.StatusCode.INVALID_ARGUMENT,
    "CORRUPT_STREAM": grpc.StatusCode.DATA_LOSS,
    "MODEL_MISMATCH": grpc.StatusCode.FAILED_PRECONDITION,
    "QUALITY_UNREACHABLE": grpc.StatusCode.FAILED_PRECONDITION,
    "UNSUPPORTED_VERSION": grpc.StatusCode.UNIMPLEMENTED,
    "BASELINE_UNAVAILABLE": grpc.StatusCode.UNIMPLEMENTED,
    "UNKNOWN_MODEL": grpc.StatusCode.NOT_FOUND,
    "INVALID_CHECKPOINT": grpc.StatusCode.INVALID_ARGUMENT,
    "CHECKPOINT_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "VERSION_LOADED": grpc.StatusCode.ALREADY_EXISTS,
    "SELF_TEST_FAILED": grpc.StatusCode.FAILED_PRECONDITION,
    "MODEL_IN_USE": grpc.StatusCode.FAILED_PRECONDITION,
    "NO_EARLIER_VERSION": grpc.StatusCode.FAILED_PRECONDITION,
    "ADMIN_REFUSED": grpc.StatusCode.PERMISSION_DENIED,
    "QUEUE_FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DEADLINE_EXCEEDED": grpc.StatusCode.DEADLINE_EXCEEDED,
    "CANCELLED": grpc.StatusCode.CANCELLED,
    "SHUTTING_DOWN": grpc.StatusCode.UNAVAILABLE,
    "INTERNAL_ERROR": grpc.StatusCode.INTERNAL,
}


class ServiceError(Exception):
    """A call or an item cannot be served; ``reason`` is one of ``STATUS_CODES``."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field
        self.retry_after_seconds = retry_after_seconds


class CallError(ServiceError):
    """The call as a whole is over, whichever item it was at: overload, deadline, shutdown."""


def queue_full(why: str, wait: float) -> CallError:
    """The error of a call that would have to wait, and when it is worth another try."""
    after = min(10.0, max(0.05, wait))
    return CallError("QUEUE_FULL", f"{why}; try again in {after:.2f} s", retry_after_seconds=after)


ItemError = CodecError | ServiceError
"""Why one item of a call failed."""

ITEM_ERRORS = (CodecError, ServiceError)
"""The same for isinstance, which is quicker with a tuple."""


def bare(error: ItemError) -> ItemError:
    """The error without the frames that it was raised in, since those hold images."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def to_status(error: CodecError | ServiceError) -> status_pb2.Status:
    """The google.rpc.Status of an error, with ErrorInfo and what else helps the caller."""
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain=DOMAIN, metadata=_metadata(error)
    )
    status = status_pb2.Status(
        code=STATUS_CODES[error.reason].value[0],
        message=_message(error),
        details=[_pack(info)],
    )
    if isinstance(error, ServiceError):
        _add_hints(status, error)
    return status


def _message(error: CodecError | ServiceError) -> str:
    """What an error says, as far as gRPC takes it: it may tell what the caller has sent."""
    text = str(error)
    return text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE - 1]}…"


def _metadata(error: CodecError | ServiceError) -> dict[str, str]:
    if not isinstance(error, QualityUnreachableError):
        return {}
    found = {"size_bytes": str(error.size_bytes), "mse": repr(error.mse)}
    return found | ({"psnr_db": repr(psnr_db(error.mse))} if error.mse else {})


def _add_hints(status: status_pb2.Status, error: ServiceError) -> None:
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=status.message
        )
        status.details.append(_pack(error_details_pb2.BadRequest(field_violations=[violation])))
    if error.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        status.details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))


def _pack(
    message: error_details_pb2.ErrorInfo
    | error_details_pb2.BadRequest
    | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
