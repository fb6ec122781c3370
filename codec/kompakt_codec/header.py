"""A checkpoint's header: what the model is, what it was trained on and what was measured.

It stands as JSON under the key ``kompakt`` of safetensors' metadata.
"""

import json
from collections.abc import Mapping
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kompakt_codec.errors import CheckpointError
from kompakt_codec.frame import MAX_LEVELS
from kompakt_codec.models import ImageSpec

HEADER_KEY = "kompakt"
SCHEMA_VERSION = 1
StoredAs: TypeAlias = Literal["float32", "float16"]
_MAX_COUNT = 2**53
"""What every reader of JSON holds exactly."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Training(_Part):
    """What the model was trained on, and how."""

    dataset: str
    licence: str
    num_images: int = Field(ge=0, le=_MAX_COUNT)
    """0 if it is not known, as ``epochs``: of a model that was trained elsewhere."""
    epochs: int = Field(ge=0, le=_MAX_COUNT)
    command: str
    details: dict[str, str | int | float] = {}
    """Whatever else the recipe wants to record: seed, versions, machine."""


class Measured(_Part):
    """Rate and distortion of real embedded frames on held-out images."""

    dataset: str
    num_images: int = Field(ge=1, le=_MAX_COUNT)
    bytes_per_image: float = Field(ge=0)
    bits_per_pixel: float = Field(ge=0)
    mse: float = Field(ge=0)
    psnr_db: float | None = None
    """None if mse is 0."""


class Header(_Part):
    """A checkpoint's JSON header."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    architecture: str
    config: dict[str, int]
    height: int
    width: int
    channels: int
    latent_shape: tuple[int, int, int] = Field(strict=False)
    levels: int = Field(default=1, ge=1, le=MAX_LEVELS)
    """Rate levels, the coarsest first."""
    default_level: int = Field(default=0, ge=0, lt=MAX_LEVELS)
    labels: tuple[str, ...] = Field(default=(), strict=False)
    """Of a model conditioned on labels: what levels 1 and up stand for. Level 0 is no label."""
    entropy: Literal["tables", "context", "hyperprior", "gaussian"] = "tables"
    """What the entropy path is made of."""
    weights: StoredAs = "float32"
    """How the transforms' weights are stored."""
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")
    synthesis_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    training: Training
    measured: Measured | None = None
    """Of the default level."""
    curve: tuple[Measured, ...] = Field(default=(), strict=False)
    """Of every level, the coarsest first, if there are several."""

    @property
    def rate_levels(self) -> int:
        """How many levels are rates: labels are none, they are for the caller to give."""
        return 1 if self.labels else self.levels

    @property
    def spec(self) -> ImageSpec:
        """The images that the model is for."""
        return ImageSpec(height=self.height, width=self.width, channels=self.channels)


def parse_header(metadata: Mapping[str, str]) -> Header:
    """The header in a file's metadata. Raises CheckpointError if there is none, or a bad one."""
    text = metadata.get(HEADER_KEY)
    if text is None:
        raise CheckpointError("a safetensors file, but without Kompakt's header")
    try:
        version = json.loads(text).get("schema_version")
        if version != SCHEMA_VERSION:
            raise CheckpointError(
                f"schema version {version}; this software reads version {SCHEMA_VERSION}"
            )
        return Header.model_validate_json(text)
    except (ValidationError, ValueError, AttributeError, RecursionError) as exc:
        raise CheckpointError(f"malformed header: {exc}") from exc
