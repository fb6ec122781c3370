"""Files that are written whole or not at all."""

from contextlib import suppress
from pathlib import Path
from secrets import token_hex


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a kill leaves the old one or the new one, and a failure nothing else.

    Of several writers at once the last one's is left. A link stays one, and what is no regular
    file, such as a pipe, is written directly.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    target = path.resolve()
    partial = target.with_name(f"{target.name}.{token_hex(4)}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(target)
    except BaseException as exc:
        with suppress(OSError):  # the first error is the one to tell
            partial.unlink()
        if isinstance(exc, OSError):  # that of a full disk does not say where it is
            exc.filename = exc.filename or str(path)
        raise
