"""From a file in the directory of models to a codec on the device."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from kompakt_codec.checkpoint import SUFFIX
from kompakt_codec.codec import Codec
from kompakt_codec.errors import CheckpointError
from kompakt_service.errors import ServiceError
from kompakt_service.registry import Version

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class LoadedModel:
    """A codec, the version that it is of, and the size of its file."""

    codec: Codec
    version: Version
    checkpoint_bytes: int

    @property
    def name(self) -> str:
        """The name by which calls ask for it."""
        return self.version.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """Loads checkpoints of one directory onto one device."""

    directory: Path
    device: str
    effort: int

    def paths(self) -> list[str]:
        """The checkpoints that lie directly in the directory. Raises CheckpointError if none do."""
        found = sorted(path.name for path in self.directory.glob(f"*{SUFFIX}"))
        if not found:
            raise CheckpointError(f"no checkpoint (*{SUFFIX}) in {self.directory}")
        return found

    def locate(self, path: str) -> str:
        """A file of the directory or below it, as a path relative to it.

        Raises ServiceError INVALID_FIELD if it leads elsewhere, CHECKPOINT_NOT_FOUND if it is none.
        """
        root = self.directory.resolve()
        try:
            file = (root / path).resolve()
            if not file.is_relative_to(root) or file.suffix != SUFFIX:
                raise ValueError(
                    f"must name a *{SUFFIX} file within the server's --models directory"
                )
            if not _is_file(file):
                message = f"no checkpoint {path!r} in the server's --models directory"
                raise ServiceError("CHECKPOINT_NOT_FOUND", message, field="path")
        except ValueError as exc:  # also of a path that holds a zero byte
            raise ServiceError("INVALID_FIELD", f"path {path!r}: {exc}", field="path") from None
        return file.relative_to(root).as_posix()

    def digest(self, path: str) -> str:
        """SHA-256 of a file, in hexadecimal. Raises CheckpointError if it cannot be read."""
        whole = self.directory / path
        try:
            with whole.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as exc:
            raise CheckpointError(f"{whole}: cannot be read: {exc.strerror}") from exc

    def load(self, path: str, *, sha256: str | None = None) -> LoadedModel:
        """Load a checkpoint, which must have this hash if one is given. Raises CheckpointError."""
        found = self.digest(path)
        if found != (sha256 or found):
            raise CheckpointError(
                f"{self.directory / path}: another file than the one that was loaded as "
                f"{sha256 and sha256[:8]}; put that one back"
            )
        codec = Codec.load(self.directory / path, self.device, effort=self.effort)
        if self.digest(path) != found:
            raise CheckpointError(f"{self.directory / path}: changed while it was read")
        header = codec.header
        version = Version(name=header.name, fingerprint=header.fingerprint, sha256=found, path=path)
        _LOGGER.info(
            "model loaded",
            extra={
                "model": header.name,
                "fingerprint": header.fingerprint[:8],
                "version": version.label,
                "device": self.device,
            },
        )
        return LoadedModel(codec, version, (self.directory / path).stat().st_size)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # of a name that is too long, among others
        return False
