"""The settings of a run, and the command line that makes it again."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from kompakt_codec.models import MODELS
from kompakt_training.arguments import flag
from kompakt_training.catalogue import FOLDER_PREFIX, as_text
from kompakt_training.recipes import DEFAULT_SEED, DEFAULT_STEP_SCALE, RECIPES


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything beside the images that decides a run's weights.

    ``config`` holds every field of the model's config. Raises ValueError for a value out of range.
    """

    model: str
    config: Mapping[str, int]
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int = DEFAULT_SEED
    mirror: bool = False
    """Whether half of the images are seen mirrored left to right."""
    init: str = ""
    """SHA-256 of the weights to start from, hexadecimal, or empty for fresh ones."""

    def __post_init__(self) -> None:
        MODELS[self.model].config_class(**self.config)
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {self.epochs}")
        if self.batch_size < 2:
            raise ValueError(f"the batch size must be at least 2, not {self.batch_size}")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"the learning rate must be in (0, 1], not {self.learning_rate}")
        if not 0 <= self.seed < 1 << 32:
            raise ValueError(f"the seed must be 0 to 2**32 - 1, not {self.seed}")

    @classmethod
    def from_recipe(
        cls,
        model: str,
        *,
        config: Mapping[str, int] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        seed: int = DEFAULT_SEED,
        mirror: bool = False,
        init: str = "",
    ) -> "Settings":
        """The model's recipe, with what is given put in its place."""
        recipe = RECIPES[model]
        return cls(
            model=model,
            config={**recipe.config, **(config or {})},
            epochs=recipe.epochs if epochs is None else epochs,
            batch_size=recipe.batch_size if batch_size is None else batch_size,
            learning_rate=recipe.learning_rate if learning_rate is None else learning_rate,
            seed=seed,
            mirror=mirror,
            init=init,
        )

    def flat(self) -> dict[str, str | int | float]:
        """Name to value; a flag on the command line has the name with dashes."""
        return {
            "model": self.model,
            **self.config,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
            **({"mirror": 1} if self.mirror else {}),
            **({"init": self.init} if self.init else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings:
    """How the checkpoint is made from the weights; may differ when a finished run is exported."""

    name: str
    step_scale: float = DEFAULT_STEP_SCALE
    """The VAE's quantiser step, in widths of its posterior."""
    default_level: int | None = None
    """The rate level of a request that names none; None is the middle one."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", self.name):
            raise ValueError(
                f"a name is 1 to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first, "
                f"not {self.name!r}"
            )
        if not 0 < self.step_scale <= 100:
            raise ValueError(f"the step scale must be in (0, 100], not {self.step_scale}")

    def check_level(self, levels: int) -> None:
        """Raise ValueError unless a model with so many levels has the default one."""
        if self.default_level is not None and not 0 <= self.default_level < levels:
            raise ValueError(f"the default level must be 0 to {levels - 1}")


def default_name(dataset: str, model: str) -> str:
    """For example ``mnist-ae``; a folder gives its own name."""
    words = re.sub(r"[^a-z0-9]+", "-", dataset.removeprefix(FOLDER_PREFIX).lower()).strip("-")
    return f"{words[:48] or 'images'}-{model}"


def mirrored_by_default(crop: int | None) -> bool:
    """Tiles of larger pictures are seen mirrored too, whole images (digits, icons) are not."""
    return crop is not None


def command_line(
    settings: Settings,
    export: ExportSettings,
    *,
    dataset: str,
    crop: int | None = None,
    memory_gib: float | None = None,
    licence: str | None = None,
    init: str | None = None,
) -> str:
    """The command that makes the checkpoint again, defaults and machine's paths left out.

    ``init`` is what it started from, as ``recorded_name`` tells it.
    """
    words = ["kompakt", "train", "--model", settings.model, "--dataset", dataset]
    if crop is not None:
        words += ["--crop", str(crop)]
    if memory_gib is not None:
        words += ["--image-memory", f"{memory_gib:g}"]
    defaults = Settings.from_recipe(settings.model).flat()
    for key, value in settings.flat().items():
        if key not in ("mirror", "init") and value != defaults[key]:
            words += [flag(key), str(value)]
    if settings.mirror != mirrored_by_default(crop):
        words.append("--mirror" if settings.mirror else "--no-mirror")
    if export.name != default_name(dataset, settings.model):
        words += ["--name", export.name]
    if export.step_scale != DEFAULT_STEP_SCALE:
        words += ["--step-scale", str(export.step_scale)]
    if export.default_level is not None:
        words += ["--default-level", str(export.default_level)]
    if licence is not None:
        words += ["--licence", licence]
    if init is not None:
        words += ["--init", init]
    return as_text(shlex.join(words))
