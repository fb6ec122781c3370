"""What a call sees of the loaded models."""

from collections.abc import Iterator, Mapping

from kompakt_codec.errors import CheckpointError, ModelMismatchError
from kompakt_codec.frame import FINGERPRINT_PREFIX_BYTES
from kompakt_codec.quality import warm_up
from kompakt_service.loading import LoadedModel, Loader
from kompakt_service.registry import Registry, Version


class Models:
    """The models that are loaded at one moment. Never changes: a call keeps to the one it took."""

    def __init__(self, registry: Registry, loaded: Mapping[Version, LoadedModel]) -> None:
        self.registry = registry
        self.loaded = {
            version: loaded[version]
            for name in sorted(registry.promoted)
            for version in registry.versions_of(name)
        }
        """By name; of each name the current one first, then the last loaded."""
        self._current: dict[str, LoadedModel] = {}
        self._by_prefix: dict[bytes, LoadedModel] = {}
        for model in self.loaded.values():
            self._current.setdefault(model.name, model)
        for model in (*self, *self.loaded.values()):
            self._by_prefix.setdefault(_prefix(model), model)

    def __iter__(self) -> Iterator[LoadedModel]:
        """The current versions, by name."""
        return iter(self._current.values())

    def is_current(self, model: LoadedModel) -> bool:
        """Whether it answers to its name."""
        return self._current.get(model.name) is model

    def reference(self, model: LoadedModel) -> str:
        """The shortest reference that means it: its name, or NAME@VERSION."""
        return model.name if self.is_current(model) else model.version.reference

    def get(self, reference: str, field: str = "options.model") -> LoadedModel:
        """The model that NAME, NAME@VERSION or '', the default, means.

        Raises ServiceError UNKNOWN_MODEL.
        """
        model = self._current.get(reference or self.registry.default)
        return model or self._matching(reference, field)[0]

    def taking(self, shape: tuple[int, ...]) -> list[LoadedModel]:
        """The current models that accept an image (height, width, channels) as it is, by name.

        Those of RGB take grey, too.
        """
        height, width, channels = shape
        accepting = (model for model in self if (height, width) in model.codec.sizes)
        return [model for model in accepting if model.codec.header.channels >= channels]

    def for_frame(self, prefix: bytes | None, reference: str) -> LoadedModel:
        """The model for a frame that names this fingerprint prefix, or None.

        ``reference``, unless it is empty, limits it to a model or a version; where none of these
        has the fingerprint, it is for the decoder to say so. Raises ServiceError UNKNOWN_MODEL or
        ModelMismatchError.
        """
        if prefix is None:
            return self.get(reference)
        if reference:
            candidates = self._matching(reference, "options.model")
            return next((m for m in candidates if _prefix(m) == prefix), candidates[0])
        model = self._by_prefix.get(prefix)
        if model is None:
            raise ModelMismatchError(
                f"no loaded model has the fingerprint {prefix.hex()}… that the stream names; "
                f"loaded: {', '.join(self._current)}"
            )
        return model

    def _matching(self, reference: str, field: str) -> list[LoadedModel]:
        found = self.registry.matching(reference)
        if not found:
            raise self.registry.unknown(reference, field)
        return [self.loaded[version] for version in found]


def load_directory(loader: Loader, default: str) -> Models:
    """Every checkpoint that lies directly in the directory. Raises CheckpointError."""
    models: dict[str, LoadedModel] = {}
    for path in loader.paths():
        model = loader.load(path)
        if model.name in models:
            raise CheckpointError(
                f"{loader.directory / path}: a second model named {model.name!r}: keep one of them "
                "in a sub-directory, and load it when the server runs"
            )
        models[model.name] = model
    default = default or min(models)
    if default not in models:
        raise CheckpointError(
            f"the default model {default!r} is not among {', '.join(sorted(models))}"
        )
    registry = Registry(
        default=default,
        versions=tuple(model.version for model in models.values()),
        promoted={name: (model.version.label,) for name, model in models.items()},
    )
    return Models(registry, {model.version: model for model in models.values()})


def load_registry(
    loader: Loader, registry: Registry, loaded: Mapping[Version, LoadedModel] | None = None
) -> Models:
    """What a registry says, as far as it is not loaded already. Raises CheckpointError."""
    known = loaded or {}
    return Models(
        registry,
        {
            version: known.get(version) or _load_warm(loader, version)
            for version in registry.versions
        },
    )


def _load_warm(loader: Loader, version: Version) -> LoadedModel:
    """A version that another process has tested, ready for calls."""
    model = loader.load(version.path, sha256=version.sha256)
    warm_up(model.codec)
    return model


def _prefix(model: LoadedModel) -> bytes:
    return model.codec.fingerprint[:FINGERPRINT_PREFIX_BYTES]
