"""What a call asks for, read from its options once for all calls that ask for the same."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from kompakt.v1 import compression_pb2 as pb
from kompakt_codec.frame import Profile
from kompakt_codec.images import FileFormat, Fit
from kompakt_codec.quality import Demand
from kompakt_service.errors import ServiceError
from kompakt_service.messages import FITS, FORMATS, PROFILES, choose, read_demand

_MAX_KNOWN, _MAX_KNOWN_BYTES = 1024, 256

_Options = TypeVar("_Options", pb.CompressOptions, pb.DecompressOptions)
_Plan = TypeVar("_Plan")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompressPlan:
    """How Compress works. Equal options give the same object, so that plans compare by identity."""

    model: str
    demand: Demand
    profile: Profile
    fit: Fit
    reconstruct: bool
    latents: bool
    keep_metadata: bool

    @classmethod
    def of(cls, options: pb.CompressOptions) -> "CompressPlan":
        """Read options. Raises ServiceError INVALID_FIELD."""
        profile = choose(PROFILES, options.profile, "options.profile")
        if options.keep_metadata and profile is Profile.EMBEDDED:
            raise ServiceError(
                "INVALID_FIELD",
                "options.keep_metadata is for FRAME_PROFILE_FILE: an embedded frame has none",
                field="options.keep_metadata",
            )
        return cls(
            model=options.model,
            demand=read_demand(options),
            profile=profile,
            fit=choose(FITS, options.fit, "options.fit"),
            reconstruct=options.return_reconstruction,
            latents=options.return_latents,
            keep_metadata=options.keep_metadata,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecompressPlan:
    """How Decompress works."""

    model: str
    profile: Profile
    file_format: FileFormat | None

    @classmethod
    def of(cls, options: pb.DecompressOptions) -> "DecompressPlan":
        """Read options. Raises ServiceError INVALID_FIELD."""
        return cls(
            model=options.model,
            profile=choose(PROFILES, options.profile, "options.profile"),
            file_format=choose(FORMATS, options.format, "options.format"),
        )


class Plans(Generic[_Options, _Plan]):
    """Plans by their options; the known ones are forgotten when there are too many."""

    def __init__(self, read: Callable[[_Options], _Plan]) -> None:
        self._read: Callable[[_Options], _Plan] = read
        self._known: dict[bytes, _Plan] = {}

    def of(self, options: _Options) -> _Plan:
        """The plan of options. Raises ServiceError INVALID_FIELD."""
        key = options.SerializeToString(deterministic=True)
        plan = self._known.get(key)
        if plan is None:
            plan = self._read(options)
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            if len(key) <= _MAX_KNOWN_BYTES:  # longer ones hold what no server knows
                self._known[key] = plan
        return plan
