"""The errors that the codec raises on purpose, as a tree.

CodecError
├── InvalidImageError         INVALID_IMAGE        not an image, or a damaged one
├── UnsupportedImageError     UNSUPPORTED_IMAGE    a pixel type that is not accepted
├── WrongSizeError            WRONG_SIZE           height, width or channels do not suit the model
├── ImageTooLargeError        IMAGE_TOO_LARGE      over a limit, by the image's header
├── StreamError
│   ├── InvalidStreamError    INVALID_STREAM       not a Kompakt stream, or a malformed one
│   ├── CorruptStreamError    CORRUPT_STREAM       cut or changed on its way
│   ├── ModelMismatchError    MODEL_MISMATCH       made by another model
│   └── UnsupportedVersionError  UNSUPPORTED_VERSION  a frame version or mode that is not known
├── QualityUnreachableError   QUALITY_UNREACHABLE  no stream is as was demanded (see ``quality``)
├── CheckpointError           INVALID_CHECKPOINT   a model's file cannot be loaded
└── BaselineUnavailableError  BASELINE_UNAVAILABLE  the library of a classical codec is missing

The second column is `reason`: the stable word that programs branch on, and that the service
sends as the reason of its google.rpc.ErrorInfo. The message is one line for people.
"""


class CodecError(Exception):
    """Base of every error that the codec raises on purpose."""

    reason: str = "CODEC_ERROR"


class InvalidImageError(CodecError):
    """The bytes are not an image of an accepted format, or the image is damaged."""

    reason = "INVALID_IMAGE"


class UnsupportedImageError(CodecError):
    """The image is sound but its pixel type is not accepted: deep channels, transparency."""

    reason = "UNSUPPORTED_IMAGE"


class WrongSizeError(CodecError):
    """The model does not accept the image's height, width or number of channels."""

    reason = "WRONG_SIZE"


class ImageTooLargeError(CodecError):
    """The image has more bytes, or by its header more pixels, than the limit."""

    reason = "IMAGE_TOO_LARGE"


class StreamError(CodecError):
    """Base of what can be wrong with a compressed stream."""


class InvalidStreamError(StreamError):
    """The bytes are not a Kompakt stream, or are malformed."""

    reason = "INVALID_STREAM"


class CorruptStreamError(StreamError):
    """The check does not match what was decoded: the stream was cut or changed."""

    reason = "CORRUPT_STREAM"


class ModelMismatchError(StreamError):
    """The stream was made by another model than the one that is to decode it."""

    reason = "MODEL_MISMATCH"


class UnsupportedVersionError(StreamError):
    """The stream has a frame version or mode that this software does not know."""

    reason = "UNSUPPORTED_VERSION"


class CheckpointError(CodecError):
    """A model's checkpoint cannot be loaded."""

    reason = "INVALID_CHECKPOINT"


class BaselineUnavailableError(CodecError):
    """The library that a classical codec needs is not installed."""

    reason = "BASELINE_UNAVAILABLE"
