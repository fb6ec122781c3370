"""The loaded models, and how they change while calls go on.

A call takes an immutable snapshot, ``Models``, when it begins, and keeps to it. A change makes the
next snapshot aside and puts it in the place of the last by one assignment: no call waits for a
change or sees half of one, and an unloaded model lasts as long as the calls that hold it.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from kompakt_codec.defaults import DEFAULT_EFFORT
from kompakt_codec.errors import CheckpointError
from kompakt_service.call import Call
from kompakt_service.errors import ServiceError
from kompakt_service.loading import LoadedModel, Loader
from kompakt_service.registry import Registry, Version
from kompakt_service.release import MemoryKeeper
from kompakt_service.self_test import self_test
from kompakt_service.snapshot import Models, load_directory, load_registry
from kompakt_service.state import PrivateState, SharedState, State

__all__ = ["LoadedModel", "ModelStore", "Models"]

_LOGGER = logging.getLogger(__name__)

OnChange = Callable[[Models], None]
_START = Call(math.inf, lambda: True)
"""What a starting server waits as: for any time."""


class ModelStore:
    """The models of one directory on one device. Every method may be called from any thread."""

    def __init__(self, loader: Loader, models: Models, state: State, on_change: OnChange) -> None:
        self._loader = loader
        self._models = models
        self._state = state
        self._on_change = on_change
        self._making = threading.Lock()
        """Held while one snapshot is made from another; calls never take it."""
        self._memory = MemoryKeeper()
        on_change(models)
        state.report(models.registry.revision)
        state.follow(self._follow)

    @classmethod
    def load(
        cls,
        directory: Path,
        device: str,
        default: str = "",
        *,
        effort: int = DEFAULT_EFFORT,
        state_file: Path | None = None,
        on_change: OnChange = lambda _: None,
    ) -> "ModelStore":
        """Load what the state file says, or if there is none yet every checkpoint of a directory.

        Raises CheckpointError if one does not load.
        """
        loader = Loader(directory=directory, device=device, effort=effort)
        try:
            state = PrivateState() if state_file is None else SharedState(state_file)
            return cls(loader, _opened(loader, state, default), state, on_change)
        except OSError as exc:
            raise CheckpointError(
                f"cannot keep the state of models in {state_file}: {exc}"
            ) from exc

    def snapshot(self) -> Models:
        """The models of this moment."""
        return self._models

    def __iter__(self) -> Iterator[LoadedModel]:
        """The current versions of this moment, by name."""
        return iter(self._models)

    def add(self, path: str, call: Call, *, promote: bool = False) -> tuple[LoadedModel, Models]:
        """Load a checkpoint of the directory, test it, and let it take traffic in all processes.

        Raises ServiceError or CheckpointError; then nothing has changed.
        """
        path = self._loader.locate(path)
        self._refuse_loaded(path)
        model = self._loader.load(path)
        self_test(model.codec)
        version = model.version
        with self._state.exclusive(call):
            self._commit(self._caught_up().with_version(version), model)
            try:
                self._await_others(call)
            except Exception:
                self._commit(self._models.registry.withdrawn(version))
                raise
            if promote:
                self._commit(self._models.registry.with_current(version))
                self._await_others(call)
            return model, self._models

    def unload(self, reference: str, call: Call, *, all_versions: bool = False) -> list[Version]:
        """Drop a version that is not current, or a whole model. Raises ServiceError."""
        with self._state.exclusive(call):
            registry = self._caught_up()
            if all_versions:
                left = registry.without_model(reference)
            else:
                left = registry.without_version(registry.find(reference, "model"))
            self._commit(left)
            self._await_others(call)
            return [version for version in registry.versions if version not in left.versions]

    def promote(self, reference: str, call: Call) -> tuple[LoadedModel, Models]:
        """Make a loaded version the current one. Raises ServiceError."""
        with self._state.exclusive(call):
            registry = self._caught_up()
            version = registry.find(reference, "model")
            self._commit(registry.with_current(version))
            self._await_others(call)
            return self._models.loaded[version], self._models

    def roll_back(self, name: str, call: Call) -> tuple[LoadedModel, Models]:
        """Make the version before the current one current. Raises ServiceError."""
        with self._state.exclusive(call):
            self._commit(self._caught_up().rolled_back(name))
            self._await_others(call)
            return self._models.get(name), self._models

    def close(self) -> None:
        """End the threads."""
        self._state.close()
        self._memory.close()

    def _refuse_loaded(self, path: str) -> None:
        """Before any work is done: ``with_version`` has the last word."""
        digest = self._loader.digest(path)
        for version in self._models.registry.versions:
            if version.sha256 == digest:
                raise ServiceError(
                    "VERSION_LOADED", f"{version.reference} is loaded already", field="path"
                )

    def _caught_up(self) -> Registry:
        """The registry, after every change that another process has made."""
        with self._making:
            self._apply_written()
            return self._models.registry

    def _follow(self) -> None:
        """Do what another process has written; if it cannot be done, tell it why."""
        with self._making:
            try:
                self._apply_written()
            except Exception:  # the thread must outlive what it cannot follow
                _LOGGER.exception("cannot follow a change of the models")

    def _apply_written(self) -> None:
        registry = self._state.read()
        # Not revisions: that of a state which was deleted since may be the same.
        if registry is None or registry == self._models.registry:
            return
        try:
            self._apply(load_registry(self._loader, registry, self._models.loaded))
        except Exception as exc:
            self._state.report(registry.revision, str(exc))
            raise

    def _commit(self, registry: Registry, *added: LoadedModel) -> None:
        with self._making:
            loaded = self._models.loaded | {model.version: model for model in added}
            self._state.write(registry)
            self._apply(Models(registry, loaded))

    def _apply(self, models: Models) -> None:
        before, self._models = self._models, models
        self._on_change(models)
        for version in before.loaded.keys() - models.loaded.keys():
            self._memory.free_when_unused(before.loaded[version])
        self._state.report(models.registry.revision)
        _LOGGER.info("models changed", extra=_summary(models))

    def _await_others(self, call: Call) -> None:
        self._state.await_others(self._models.registry.revision, call)


def _opened(loader: Loader, state: State, default: str) -> Models:
    with state.exclusive(_START):
        state.join()  # from here on changes wait for this process, which they let in first
        registry = state.read()
        if registry is None:
            models = load_directory(loader, default)
            state.write(models.registry)
            return models
        if default not in ("", registry.default):
            registry = registry.with_default(default)
            state.write(registry)
    return load_registry(loader, registry)


def _summary(models: Models) -> dict[str, str]:
    current = (model.version.reference for model in models)
    others = (m.version.reference for m in models.loaded.values() if not models.is_current(m))
    return {"current": ",".join(current), "others": ",".join(others)}
