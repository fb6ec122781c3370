"""The models: one file each, one line each in ``MODELS``.

Names are written into checkpoints: an entry may be added, never renamed.
"""

from collections.abc import Mapping
from typing import Any

from kompakt_codec.errors import CheckpointError
from kompakt_codec.models._base import (
    ImageSpec,
    Prior,
    RateModel,
    RateOutput,
    TransformModel,
    crop,
    distortion_weight,
    distortion_weights,
)
from kompakt_codec.models._gdn import GdnConfig
from kompakt_codec.models._hyper import HyperPrior, IntegerLayer
from kompakt_codec.models._masked import MaskedPrior
from kompakt_codec.models.ae import AEConfig, Autoencoder
from kompakt_codec.models.context import ContextConfig, ContextModel
from kompakt_codec.models.cvae import ConditionalVAE, CVAEConfig
from kompakt_codec.models.factorized import FactorizedConfig, FactorizedModel
from kompakt_codec.models.gdn_factorized import GdnFactorizedModel
from kompakt_codec.models.gdn_hyperprior import GdnHyperpriorConfig, GdnHyperpriorModel
from kompakt_codec.models.hyperprior import HyperpriorConfig, HyperpriorModel
from kompakt_codec.models.vae import VAEConfig, VAEOutput, VariationalAutoencoder

MODELS: dict[str, type[TransformModel]] = {
    "ae": Autoencoder,
    "vae": VariationalAutoencoder,
    "cvae": ConditionalVAE,
    "context": ContextModel,
    "factorized": FactorizedModel,
    "hyperprior": HyperpriorModel,
    "gdn-factorized": GdnFactorizedModel,
    "gdn-hyperprior": GdnHyperpriorModel,
}

__all__ = [
    "MODELS",
    "AEConfig",
    "Autoencoder",
    "CVAEConfig",
    "ConditionalVAE",
    "ContextConfig",
    "ContextModel",
    "FactorizedConfig",
    "FactorizedModel",
    "GdnConfig",
    "GdnFactorizedModel",
    "GdnHyperpriorConfig",
    "GdnHyperpriorModel",
    "HyperPrior",
    "HyperpriorConfig",
    "HyperpriorModel",
    "ImageSpec",
    "IntegerLayer",
    "MaskedPrior",
    "Prior",
    "RateModel",
    "RateOutput",
    "TransformModel",
    "VAEConfig",
    "VAEOutput",
    "VariationalAutoencoder",
    "build_model",
    "crop",
    "distortion_weight",
    "distortion_weights",
]


def build_model(architecture: str, spec: ImageSpec, config: Mapping[str, Any]) -> TransformModel:
    """Build a model with fresh weights from its name in ``MODELS`` and its config's fields.

    Raises CheckpointError for a name or field that does not exist, or a value out of range.
    """
    model_class: Any = MODELS.get(architecture)
    if model_class is None:
        raise CheckpointError(f"unknown architecture {architecture!r}; known: {', '.join(MODELS)}")
    try:
        config_object = model_class.config_class(**config)
    except (TypeError, ValueError) as exc:
        raise CheckpointError(f"{architecture} config {dict(config)}: {exc}") from exc
    model: TransformModel = model_class(spec, config_object)
    return model
