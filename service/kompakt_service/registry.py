"""Which versions of which models are to be loaded, and which are current: plain, frozen data.

Every change makes a new registry, or raises the ServiceError that its caller gets. One invariant
holds throughout: a model with a loaded version has a current one.
"""

from collections.abc import Collection, Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kompakt_codec.errors import CheckpointError
from kompakt_service.errors import ServiceError

_DIGITS = 8
"""Of each hash, in a version's name."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Version(_Part):
    """A checkpoint as a version of a model."""

    name: str
    fingerprint: str
    """SHA-256 of the entropy path, 64 hexadecimal digits."""
    sha256: str
    """Of the checkpoint's file, 64 hexadecimal digits."""
    path: str
    """The file, relative to the directory of models."""

    @property
    def label(self) -> str:
        """The version's name: the fingerprint's beginning, a dash, and the file's hash's."""
        return f"{self.fingerprint[:_DIGITS]}-{self.sha256[:_DIGITS]}"

    @property
    def reference(self) -> str:
        """NAME@VERSION."""
        return f"{self.name}@{self.label}"

    def answers_to(self, beginning: str) -> bool:
        """Whether its label or its fingerprint begins so."""
        return self.label.startswith(beginning) or self.fingerprint.startswith(beginning)


class Registry(_Part):
    """The versions of all models."""

    revision: int = Field(default=0, ge=0)
    """How many changes came before."""
    default: str
    """The model for requests that name none."""
    versions: tuple[Version, ...]
    """In the order in which they were loaded."""
    promoted: Mapping[str, tuple[str, ...]]
    """By model, the labels of loaded versions as they were promoted; the last is current."""

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        loaded = {(version.name, version.label) for version in self.versions}
        chosen = {(name, label) for name, labels in self.promoted.items() for label in labels}
        if {name for name, _ in loaded} != {
            name for name, labels in self.promoted.items() if labels
        }:
            raise ValueError("a model without a current version")
        if not chosen <= loaded or self.default not in self.promoted:
            raise ValueError("a promoted version or a default model that is not loaded")
        return self

    def versions_of(self, name: str) -> list[Version]:
        """The versions of a model: the current one, then the others, the last loaded first."""
        found = [version for version in reversed(self.versions) if version.name == name]
        return sorted(found, key=lambda version: version.label != self.promoted[name][-1])

    def matching(self, reference: str) -> list[Version]:
        """The loaded versions that NAME or NAME@VERSION can mean, the likeliest first."""
        name, at, beginning = reference.partition("@")
        if name not in self.promoted or (at and not beginning):
            return []
        return [version for version in self.versions_of(name) if version.answers_to(beginning)]

    def find(self, reference: str, field: str) -> Version:
        """The one version that NAME@VERSION means; of NAME alone the current one.

        Raises ServiceError UNKNOWN_MODEL or INVALID_FIELD.
        """
        found = self.matching(reference)
        if not found:
            raise self.unknown(reference, field)
        if len(found) > 1 and "@" in reference:
            raise ServiceError(
                "INVALID_FIELD",
                f"{reference!r} can mean {', '.join(v.reference for v in found)}: give more of it",
                field=field,
            )
        return found[0]

    def unknown(self, reference: str, field: str) -> ServiceError:
        """The error for a reference that means nothing."""
        versions = self.versions_of(reference.partition("@")[0]) if "@" in reference else []
        loaded = [version.reference for version in versions] or sorted(self.promoted)
        message = f"no model named {reference!r} is loaded; loaded: {', '.join(loaded)}"
        return ServiceError("UNKNOWN_MODEL", message, field=field)

    def with_default(self, name: str) -> Self:
        """Take another default model. Raises CheckpointError if it is not loaded."""
        if name not in self.promoted:
            raise CheckpointError(
                f"the default model {name!r} is not among {', '.join(sorted(self.promoted))}"
            )
        return self._changed(default=name)

    def with_version(self, version: Version) -> Self:
        """Add a version; of a new name it is current at once. Raises VERSION_LOADED."""
        if any(version.reference == other.reference for other in self.versions):
            raise ServiceError(
                "VERSION_LOADED", f"{version.reference} is loaded already", field="path"
            )
        promoted = {version.name: (version.label,), **self.promoted}
        return self._changed(versions=(*self.versions, version), promoted=promoted)

    def with_current(self, version: Version) -> Self:
        """Make a loaded version the current one."""
        labels = self.promoted[version.name]
        if labels[-1] == version.label:
            return self
        earlier = tuple(label for label in labels if label != version.label)
        return self._changed(promoted={**self.promoted, version.name: (*earlier, version.label)})

    def rolled_back(self, name: str) -> Self:
        """Make the version before the current one current. Raises ServiceError."""
        if name not in self.promoted:
            raise self.unknown(name, "name")
        labels = self.promoted[name][:-1]
        if not labels:
            raise ServiceError(
                "NO_EARLIER_VERSION",
                f"no version of {name!r} that was current before is still loaded: "
                "load it and promote it",
            )
        return self._changed(promoted={**self.promoted, name: labels})

    def without_version(self, version: Version) -> Self:
        """Drop a version that is not current. Raises MODEL_IN_USE."""
        if self.promoted[version.name][-1] == version.label:
            raise ServiceError(
                "MODEL_IN_USE",
                f"{version.reference} is the current version of {version.name!r}: promote another "
                "first, or unload the model with all its versions",
            )
        return self._without([version])

    def withdrawn(self, version: Version) -> Self:
        """Undo ``with_version``."""
        return self._without([version])

    def without_model(self, name: str) -> Self:
        """Drop all versions of a model. Raises UNKNOWN_MODEL or MODEL_IN_USE."""
        if name not in self.promoted:
            raise self.unknown(name, "model")
        if name == self.default:
            message = f"{name!r} is the server's default model, which always stays loaded"
            raise ServiceError("MODEL_IN_USE", message)
        return self._without(self.versions_of(name))

    def _without(self, gone: Collection[Version]) -> Self:
        kept = tuple(version for version in self.versions if version not in gone)
        labels = {(version.name, version.label) for version in kept}
        promoted = {
            name: left
            for name, all_labels in self.promoted.items()
            if (left := tuple(label for label in all_labels if (name, label) in labels))
        }
        return self._changed(versions=kept, promoted=promoted)

    def _changed(self, **changes: object) -> Self:
        values = {**dict(self), **changes, "revision": self.revision + 1}
        return type(self).model_validate(values)
