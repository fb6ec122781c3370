"""Image files as trainings and measurements read them."""

from pathlib import Path

from kompakt_codec.errors import CodecError, InvalidImageError, UnsupportedImageError
from kompakt_codec.images import DEFAULT_LIMITS, Pixels, decode_image

_FIT = ", or ask for a fit"


def read_image(file: Path) -> Pixels:
    """The pixels of a file, uint8 (height, width, channels).

    Raises CodecError, also for a file that cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return decode_image(stream.read(DEFAULT_LIMITS.max_bytes + 1))
    except OSError as exc:
        raise InvalidImageError(unreadable(exc)) from exc
    except UnsupportedImageError as exc:
        # Only the service fits images.
        raise UnsupportedImageError(str(exc).partition(_FIT)[0]) from exc


def unreadable(error: OSError) -> str:
    """Why a file or a folder cannot be read, without its name."""
    return f"cannot be read: {error.strerror or error}"


def skipped_note(file: Path, error: CodecError) -> str:
    """Which file was skipped, and why."""
    return f"{file.name}: {error}"
