"""Checkpoints: one safetensors file with weights, integer tables and a header.

Tensors: the model's state under ``model.``, and the entropy path under ``entropy.``. Static tables
are ``minimums`` int32 (T,), ``lengths`` int32 (T,) and ``frequencies`` int32 (sum of lengths,): the
T = levels * C tables one after another. A context model's are those of ``ContextEntropy.tensors``,
a hyperprior's those of ``HyperEntropy.tensors``, an imported one's those of
``GaussianEntropy.tensors``. Metadata: a ``Header``. Nothing is ever unpickled.
"""

import hashlib
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from kompakt_codec.context_coder import ContextEntropy
from kompakt_codec.entropy import EntropyModel
from kompakt_codec.errors import CheckpointError
from kompakt_codec.files import write_whole
from kompakt_codec.gaussian_coder import GaussianEntropy
from kompakt_codec.header import HEADER_KEY, Header, Measured, StoredAs, Training, parse_header
from kompakt_codec.live_channels import hyper_entropy_from_tensors
from kompakt_codec.models import ContextModel, ImageSpec, TransformModel, build_model
from kompakt_codec.table_coder import TableEntropy

MAX_CHECKPOINT_BYTES = 1 << 30
SUFFIX = ".safetensors"

_MODEL_PREFIX = "model."
_ENTROPY_PREFIX = "entropy."


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
        weights: StoredAs = "float32",
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
        write_whole(path, save(tensors, {HEADER_KEY: self.header.model_dump_json()}))

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
            return cls._assemble(parse_header(metadata), tensors)
        except CheckpointError as exc:
            raise CheckpointError(f"{path}: {exc}") from exc

    @classmethod
    def _assemble(cls, header: Header, tensors: dict[str, torch.Tensor]) -> Self:
        model = _build(header, tensors)
        if header.latent_shape != model.latent_shape:
            raise CheckpointError("the header has another latent_shape than the model")
        entropy = _read_entropy(header, model, tensors)
        if model.latent_shape[0] != entropy.channels:
            raise CheckpointError(f"the entropy path is for {entropy.channels} channels of latents")
        if len(header.curve) not in (0, header.levels):
            raise CheckpointError("the header has another curve than the model")
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
        return hyper_entropy_from_tensors(parts, levels=header.levels)
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
