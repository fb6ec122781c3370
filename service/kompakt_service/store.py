"""The loaded models, by name and by fingerprint."""

import logging
from collections.abc import Iterator
from pathlib import Path

from kompakt_codec.checkpoint import SUFFIX
from kompakt_codec.codec import DEFAULT_EFFORT, Codec
from kompakt_codec.errors import CheckpointError, ModelMismatchError
from kompakt_service.errors import ServiceError

_LOGGER = logging.getLogger(__name__)


class LoadedModel:
    """A codec and the size of the file that it came from."""

    def __init__(self, codec: Codec, checkpoint_bytes: int) -> None:
        self.codec = codec
        self.checkpoint_bytes = checkpoint_bytes

    @property
    def name(self) -> str:
        """The name by which calls ask for it."""
        return self.codec.header.name


class ModelStore:
    """Every checkpoint of a directory, loaded onto one device."""

    def __init__(self, models: dict[str, LoadedModel], default: str) -> None:
        self._models = dict(sorted(models.items()))
        self.default_name = default or next(iter(self._models))
        if self.default_name not in self._models:
            raise CheckpointError(
                f"the default model {default!r} is not among {', '.join(self._models)}"
            )

    @classmethod
    def load(
        cls, directory: Path, device: str, default: str = "", *, effort: int = DEFAULT_EFFORT
    ) -> "ModelStore":
        """Load every checkpoint in ``directory``. Raises CheckpointError if one does not load."""
        paths = sorted(directory.glob(f"*{SUFFIX}"))
        if not paths:
            raise CheckpointError(f"no checkpoint (*{SUFFIX}) in {directory}")
        models: dict[str, LoadedModel] = {}
        for path in paths:
            model = LoadedModel(Codec.load(path, device, effort=effort), path.stat().st_size)
            if model.name in models:
                raise CheckpointError(f"{path}: a second model named {model.name!r}")
            models[model.name] = model
            _LOGGER.info(
                "model loaded",
                extra={
                    "model": model.name,
                    "fingerprint": model.codec.header.fingerprint[:8],
                    "device": device,
                },
            )
        return cls(models, default)

    def __iter__(self) -> Iterator[LoadedModel]:
        return iter(self._models.values())

    def get(self, name: str) -> LoadedModel:
        """The model of this name, or the default for ''. Raises ServiceError UNKNOWN_MODEL."""
        model = self._models.get(name or self.default_name)
        if model is None:
            raise ServiceError(
                "UNKNOWN_MODEL",
                f"no model named {name!r} is loaded; loaded: {', '.join(self._models)}",
                field="options.model",
            )
        return model

    def by_fingerprint(self, prefix: bytes) -> LoadedModel:
        """The first model whose fingerprint begins so. Raises ModelMismatchError."""
        for model in self:
            if model.codec.fingerprint.startswith(prefix):
                return model
        raise ModelMismatchError(
            f"no loaded model has the fingerprint {prefix.hex()}… that the stream names; "
            f"loaded: {', '.join(self._models)}"
        )
