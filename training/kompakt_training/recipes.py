"""The default recipe of each architecture, and what they share."""

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_SEED = 0
DEFAULT_STEP_SCALE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Hyperparameters; ``config`` holds the fields of the model's config class."""

    config: Mapping[str, int]
    epochs: int
    batch_size: int
    learning_rate: float
    """The peak of the one-cycle schedule."""
    rate_distortion: bool = False
    """Trained on rate plus distortion: averaged weights, mixed precision where it is fast."""


RECIPES: dict[str, Recipe] = {
    "ae": Recipe(
        config={"width": 32, "latents": 112, "levels": 5},
        epochs=30,
        batch_size=128,
        learning_rate=3e-3,
    ),
    "vae": Recipe(
        config={"width": 32, "latents": 24},
        epochs=30,
        batch_size=128,
        learning_rate=3e-3,
    ),
    "cvae": Recipe(  # where images have labels, ``classes`` follows them
        config={"width": 32, "latents": 24, "classes": 10},
        epochs=30,
        batch_size=128,
        learning_rate=3e-3,
    ),
    "context": Recipe(
        config={
            "width": 64,
            "blocks": 2,
            "latents": 48,
            "units": 8,
            "components": 3,
            "levels": 13,
            "scalar_levels": 3,
        },
        epochs=60,
        batch_size=64,
        learning_rate=4e-3,
        rate_distortion=True,
    ),
    "factorized": Recipe(
        config={"width": 64, "blocks": 1, "latents": 128, "levels": 13},
        epochs=60,
        batch_size=64,
        learning_rate=3e-3,
        rate_distortion=True,
    ),
    "hyperprior": Recipe(
        config={
            "width": 64,
            "blocks": 2,
            "latents": 192,
            "side": 32,
            "units": 96,
            "groups": 4,
            "spatial": 2,
            "levels": 13,
        },
        epochs=45,
        batch_size=64,
        learning_rate=3e-3,
        rate_distortion=True,
    ),
}

CONFIG_HELP = {
    "width": "channels of the transforms' first layer",
    "latents": "numbers that an image becomes",
    "classes": "labels that a cvae knows",
    "levels": "ae: values that each latent can take, odd; context, factorized and hyperprior: "
    "rate levels",
    "scalar_levels": "context: so many of the coarsest levels have a scalar quantiser, which is "
    "better where most latents are 0, the others a trellis-coded one (default: 3)",
    "blocks": "residual blocks in each transform, beside those that it has anyway",
    "units": "context: hidden units of the prior for each latent and layer; hyperprior: channels",
    "side": "channels of the side information",
    "groups": "steps in which a hyperprior's channels are coded",
    "spatial": "how many of a hyperprior's first groups are coded in four steps",
    "components": "logistics in each of the prior's mixtures",
}
"""What the fields of a config are, each a flag of ``kompakt train``."""
PAPER_MODELS = ("ae", "vae")
"""Those that the founding paper compares."""
