"""Checkpoints: one safetensors file with weights, integer tables and a JSON header.

Tensors: the model's state under ``model.``, and the entropy path under ``entropy.``. Static tables
are ``minimums`` int32 (T,), ``lengths`` int32 (T,) and ``frequencies`` int32 (sum of lengths,): the
T = levels * C tables one after another. A context model's are those of ``ContextEntropy.tensors``,
a hyperprior's those of ``HyperEntropy.tensors``, an imported one's those of
``GaussianEntropy.tensors``. The header stands as JSON under the key
``kompakt`` of safetensors' metadata. Nothing is ever unpickled.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from kompakt_codec.context_coder import ContextEntropy
from kompakt_codec.entropy import EntropyModel
from kompakt_codec.errors import CheckpointError
from kompakt_codec.frame import MAX_LEVELS
from kompakt_codec.gaussian_coder import GaussianEntropy
from kompakt_codec.hyper_coder import HyperEntropy
from kompakt_codec.models import (
    ContextModel,
    ImageSpec,
    TransformModel,
    build_model,
)
from kompakt_codec.table_coder import TableEntropy

SCHEMA_VERSION = 1
MAX_CHECKPOINT_BYTES = 1 << 30
SUFFIX = ".safetensors"

_HEADER_KEY = "kompakt"
_MODEL_PREFIX = "model."
_ENTROPY_PREFIX = "entropy."
_MAX_COUNT = 2**53
"""What every reader of JSON holds exactly."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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
    weights: Literal["float32", "float16"] = "float32"
    """How the transforms' weights are stored."""
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")
    synthesis_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    training: Training
    measured: Measured | None = None
    """Of the default level."""
    curve: tuple[Measured, ...] = Field(default=(), strict=False)
    """Of every level, the coarsest first, if there are several."""

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
        entropy: EntropyModel,
    ) -> None:
        self.header = header
        self.model = model
        self.entropy = entropy

    @classmethod
    def create(
        cls,
        *,
        name: str,
        architecture: str,
        config: dict[str, int],
        spec: ImageSpec,
        model: TransformModel,
        entropy: EntropyModel,
        training: Training,
        default_level: int = 0,
        labels: tuple[str, ...] = (),
        weights: Literal["float32", "float16"] = "float32",
        measured: Measured | None = None,
        curve: tuple[Measured, ...] = (),
    ) -> Self:
        """Put a trained model, its frozen entropy path and its story together.

        With ``weights`` float16 the model's own weights are rounded to what the file will hold.
        """
        if weights == "float16":
            _round_weights(model)
        header = Header(
            name=name,
            architecture=architecture,
            config=config,
            height=spec.height,
            width=spec.width,
            channels=spec.channels,
            latent_shape=model.latent_shape,
            levels=model.levels,
            default_level=default_level,
            labels=labels,
            entropy=model.entropy,
            weights=weights,
            fingerprint=entropy.fingerprint.hex(),
            synthesis_hash=_synthesis_hash(model),
            training=training,
            measured=measured,
            curve=curve,
        )
        return cls(header, model, entropy)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        halve = self.header.weights == "float16"
        tensors = {
            _MODEL_PREFIX + key: _stored(value.detach().cpu(), halve=halve)
            for key, value in _saved_state(self.model).items()
        }
        for key, value in self.entropy.tensors().items():
            tensors[_ENTROPY_PREFIX + key] = value.contiguous()
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
                # Copies: safetensors maps the file, and a change of it would change the weights.
                tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as exc:
            raise CheckpointError(f"{path}: not a checkpoint: {exc}") from exc
        try:
            return cls._assemble(_parse_header(metadata), tensors)
        except CheckpointError as exc:
            raise CheckpointError(f"{path}: {exc}") from exc

    @classmethod
    def _assemble(cls, header: Header, tensors: dict[str, torch.Tensor]) -> Self:
        model = _build(header, tensors)
        entropy = _read_entropy(header, model, tensors)
        if model.latent_shape[0] != entropy.channels:
            raise CheckpointError(f"the entropy path is for {entropy.channels} channels of latents")
        if header.latent_shape != model.latent_shape or len(header.curve) not in (0, header.levels):
            raise CheckpointError("the header has another latent_shape or curve than the model")
        if len(header.labels) != (header.levels - 1 if model.has_labels else 0):
            raise CheckpointError("a conditional model needs a label for every level above 0")
        if len(set(header.labels)) < len(header.labels) or "" in header.labels:
            raise CheckpointError("labels must differ from each other")
        if not model.levels == entropy.levels == header.levels > header.default_level:
            raise CheckpointError("the entropy path has other rate levels than the model")
        if isinstance(entropy, ContextEntropy) and (
            not isinstance(model, ContextModel) or model.quantiser != entropy.quantiser
        ):
            raise CheckpointError("the entropy path has another quantiser than the model")
        if entropy.fingerprint.hex() != header.fingerprint:
            raise CheckpointError("the entropy path does not have the header's fingerprint")
        if _synthesis_hash(model) != header.synthesis_hash:
            raise CheckpointError("the synthesis weights do not have the header's hash")
        return cls(header, model.eval(), entropy)


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
        with torch.device("meta"):  # hardly any memory for what a header claims
            model = build_model(header.architecture, header.spec, header.config)
    except ValueError as exc:
        raise CheckpointError(str(exc)) from exc
    state = {
        key.removeprefix(_MODEL_PREFIX): _restored(value, halved=header.weights == "float16")
        for key, value in tensors.items()
        if key.startswith(_MODEL_PREFIX)
    }
    for name in {key.split(".")[0] for key in model.training_state}:
        delattr(model, name)
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


def _saved_state(model: TransformModel) -> dict[str, torch.Tensor]:
    """The weights that a checkpoint holds: all but what only training needs."""
    state: dict[str, torch.Tensor] = model.state_dict()
    return {key: v for key, v in state.items() if not key.startswith(model.training_state)}


@torch.no_grad()
def _round_weights(model: TransformModel) -> None:
    for value in _saved_state(model).values():
        if value.dtype == torch.float32:
            value.copy_(value.half().float())


def _stored(value: torch.Tensor, *, halve: bool) -> torch.Tensor:
    return (value.half() if halve and value.dtype == torch.float32 else value).contiguous()


def _restored(value: torch.Tensor, *, halved: bool) -> torch.Tensor:
    return value.float() if halved and value.dtype == torch.float16 else value


def _read_entropy(
    header: Header, model: TransformModel, tensors: dict[str, torch.Tensor]
) -> EntropyModel:
    if header.entropy != model.entropy:
        raise CheckpointError(f"{header.architecture} needs an entropy path of {model.entropy}")
    parts = {
        key.removeprefix(_ENTROPY_PREFIX): value
        for key, value in tensors.items()
        if key.startswith(_ENTROPY_PREFIX)
    }
    if header.entropy == "context":
        return ContextEntropy.from_tensors(parts)
    if header.entropy == "gaussian":
        return GaussianEntropy.from_tensors(parts)
    if header.entropy == "hyperprior":
        return HyperEntropy.from_tensors(parts, levels=header.levels)
    return TableEntropy.from_tensors(parts, shape=header.latent_shape, levels=header.levels)


def _synthesis_hash(model: TransformModel) -> str:
    """SHA-256 over the names, shapes and little-endian numbers of what ``synthesise`` uses."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        if not key.startswith(model.synthesis_state):
            continue
        digest.update(f"{key} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().float().numpy().astype("<f4").tobytes())
    return digest.hexdigest()
