"""Checkpoints: one safetensors file with weights, integer tables and a JSON header.

Tensors: the model's state under ``model.``; ``entropy.minimums`` int32 (C,), ``entropy.lengths``
int32 (C,) and ``entropy.frequencies`` int32 (sum of lengths,), the C tables one after another. The
header stands as JSON under the key ``kompakt`` of safetensors' metadata. Nothing is ever unpickled.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from kompakt_codec.entropy import EntropyTables, LatentShape
from kompakt_codec.errors import CheckpointError
from kompakt_codec.models import (
    ImageSpec,
    TransformModel,
    build_model,
)

SCHEMA_VERSION = 1
MAX_CHECKPOINT_BYTES = 1 << 30
SUFFIX = ".safetensors"

_HEADER_KEY = "kompakt"
_MODEL_PREFIX = "model."
_MAX_COUNT = 2**53
"""What every reader of JSON holds exactly."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Training(_Part):
    """What the model was trained on, and how."""

    dataset: str
    licence: str
    num_images: int = Field(ge=1, le=_MAX_COUNT)
    epochs: int = Field(ge=1, le=_MAX_COUNT)
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
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")
    synthesis_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    training: Training
    measured: Measured | None = None

    @property
    def spec(self) -> ImageSpec:
        """The images that the model is for."""
        return ImageSpec(height=self.height, width=self.width, channels=self.channels)


class Checkpoint:
    """A model with its tables and header, in memory."""

    def __init__(
        self,
        header: Header,
        model: TransformModel,
        tables: EntropyTables,
    ) -> None:
        self.header = header
        self.model = model
        self.tables = tables

    @classmethod
    def create(
        cls,
        *,
        name: str,
        architecture: str,
        config: dict[str, int],
        spec: ImageSpec,
        model: TransformModel,
        tables: EntropyTables,
        training: Training,
        measured: Measured | None = None,
    ) -> Self:
        """Put a trained model, its frozen tables and its story together."""
        header = Header(
            name=name,
            architecture=architecture,
            config=config,
            height=spec.height,
            width=spec.width,
            channels=spec.channels,
            latent_shape=tables.shape,
            fingerprint=tables.fingerprint.hex(),
            synthesis_hash=_synthesis_hash(model),
            training=training,
            measured=measured,
        )
        return cls(header, model, tables)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        tensors = {
            _MODEL_PREFIX + key: value.detach().cpu().contiguous()
            for key, value in self.model.state_dict().items()
        }
        tables = self.tables
        flat = np.concatenate(tables.frequencies).astype(np.int32)  # at most 2**24: int32 is exact
        tensors["entropy.minimums"] = torch.tensor(list(tables.minimums), dtype=torch.int32)
        tensors["entropy.lengths"] = torch.tensor([len(t) for t in tables.frequencies]).int()
        tensors["entropy.frequencies"] = torch.from_numpy(flat)
        data = save(tensors, {_HEADER_KEY: self.header.model_dump_json()})
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(data)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a checkpoint, on the CPU and in evaluation mode.

        Raises CheckpointError if the file is missing, is no checkpoint, or does not hold together.
        """
        try:
            num_bytes = path.stat().st_size
            if num_bytes > MAX_CHECKPOINT_BYTES:
                raise CheckpointError(f"{path}: {num_bytes} bytes are over the limit")
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as exc:
            raise CheckpointError(f"{path}: not a checkpoint: {exc}") from exc
        try:
            return cls._assemble(_parse_header(metadata), tensors)
        except CheckpointError as exc:
            raise CheckpointError(f"{path}: {exc}") from exc

    @classmethod
    def _assemble(cls, header: Header, tensors: dict[str, torch.Tensor]) -> Self:
        tables = _read_tables(header.latent_shape, tensors)
        model = _build(header, tensors)
        if model.latent_shape != tables.shape:
            raise CheckpointError(f"tables are for latents {tables.shape}")
        if tables.fingerprint.hex() != header.fingerprint:
            raise CheckpointError("the tables do not have the header's fingerprint")
        if _synthesis_hash(model) != header.synthesis_hash:
            raise CheckpointError("the synthesis weights do not have the header's hash")
        return cls(header, model.eval(), tables)


def _parse_header(metadata: dict[str, str]) -> Header:
    text = metadata.get(_HEADER_KEY)
    if text is None:
        raise CheckpointError("a safetensors file, but without Kompakt's header")
    try:
        version = json.loads(text).get("schema_version")
        if version != SCHEMA_VERSION:
            raise CheckpointError(
                f"schema version {version}; this software reads version {SCHEMA_VERSION}"
            )
        return Header.model_validate_json(text)
    except (ValidationError, ValueError, AttributeError) as exc:
        raise CheckpointError(f"malformed header: {exc}") from exc


def _build(header: Header, tensors: dict[str, torch.Tensor]) -> TransformModel:
    try:
        with torch.device("meta"):  # no memory for what a header claims, only for what is there
            model = build_model(header.architecture, header.spec, header.config)
    except ValueError as exc:
        raise CheckpointError(str(exc)) from exc
    state = {
        key.removeprefix(_MODEL_PREFIX): value
        for key, value in tensors.items()
        if key.startswith(_MODEL_PREFIX)
    }
    expected = {key: value.dtype for key, value in model.state_dict().items()}
    if {key: value.dtype for key, value in state.items()} != expected:
        raise CheckpointError("weights do not fit the architecture: other names or types")
    if not all(torch.isfinite(value).all() for value in state.values()):
        raise CheckpointError("weights must be finite numbers")
    try:
        model.load_state_dict(state, assign=True)
        model.check_state()
    except (RuntimeError, ValueError) as exc:
        raise CheckpointError(f"weights do not fit the architecture: {exc}") from exc
    return model


def _read_tables(shape: LatentShape, tensors: dict[str, torch.Tensor]) -> EntropyTables:
    arrays: dict[str, Any] = {}
    for key in ("minimums", "lengths", "frequencies"):
        tensor = tensors.get(f"entropy.{key}")
        if tensor is None or tensor.dtype != torch.int32 or tensor.ndim != 1:
            raise CheckpointError(f"entropy.{key} must be a one-dimensional int32 tensor")
        arrays[key] = tensor.numpy()
    lengths, flat = arrays["lengths"], arrays["frequencies"]
    if len(lengths) < 1 or lengths.min() < 1 or lengths.sum(dtype=np.int64) != len(flat):
        raise CheckpointError("entropy.lengths do not divide entropy.frequencies")
    if flat.min() < 1:
        raise CheckpointError("frequencies must be >= 1")
    ends = np.cumsum(lengths, dtype=np.int64)[:-1]
    return EntropyTables(
        shape=shape,
        minimums=arrays["minimums"].tolist(),
        frequencies=np.split(flat.astype(np.uint32), ends),
    )


def _synthesis_hash(model: TransformModel) -> str:
    """SHA-256 over the names, shapes and little-endian numbers of what ``synthesise`` uses."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        if not key.startswith(model.synthesis_state):
            continue
        digest.update(f"{key} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().float().numpy().astype("<f4").tobytes())
    return digest.hexdigest()
