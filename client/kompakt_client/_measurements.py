"""What `evaluate`, `models` and `server_info` return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from kompakt_client._results import Failure

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What one codec did to one image, or to all of them pooled."""

    codec: str
    """The model's name, or the baseline's."""
    reference_model: str
    """For a baseline at equal quality: the model whose MSE it had to reach."""
    setting: str
    """The baseline's setting, such as "quality=35", empty when pooled; of a model the level that
    was asked for, such as "level=9.5"."""
    size_bytes: int
    """Bytes, all framing included; pooled: the sum."""
    bits_per_pixel: float
    """8 x bytes / pixels; pooled: over all pixels."""
    mse: float
    """Mean squared error on [0, 1]; pooled: over all pixels."""
    psnr_db: float | None
    """10 log10(1 / mse) in dB, pooled: of the pooled MSE; None if mse is 0."""
    ssim: float | None
    """Structural similarity; None where it is not defined. Pooled: the mean."""
    encode_seconds: float
    """Time to encode, in seconds; pooled: the sum."""
    decode_seconds: float
    """Time to decode, in seconds; pooled: the sum."""
    num_images: int
    """How many images this measures."""
    mean_psnr_db: float | None
    """Pooled: the mean of the images' own PSNR; None if any image has an MSE of 0."""

    @property
    def bytes_per_image(self) -> float:
        """The mean size in bytes; 0 if no image could be measured."""
        return self.size_bytes / max(self.num_images, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageEvaluation:
    """The measurements of one image."""

    index: int
    """The image's position among the inputs, from 0."""
    measurements: tuple[Measurement, ...]
    """One for each codec, and reference model where there is one."""
    reconstructions: Mapping[str, npt.NDArray[np.uint8]] = field(repr=False, compare=False)
    """What each model decoded, uint8 HWC, by its name; if asked for."""

    def unwrap(self) -> Self:
        """Return the result itself; a `Failure` raises here."""
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The measurements of a run of images."""

    images: tuple[ImageEvaluation | Failure, ...]
    """One for each image, in order."""
    pooled: tuple[Measurement, ...]
    """Over all images that did not fail, one for each codec and reference model."""

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The images that failed."""
        return tuple(image for image in self.images if isinstance(image, Failure))


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeRange:
    """Sizes that a model accepts in pixels, both ends included."""

    min_height: int
    max_height: int
    min_width: int
    max_width: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredQuality:
    """Rate and distortion of real streams on held-out images."""

    dataset: str
    """The data and its part, such as "mnist test"."""
    num_images: int
    """How many images were measured."""
    bytes_per_image: float
    """Mean bytes an image in the embedded profile, framing included."""
    bits_per_pixel: float
    """Bits per pixel of the same."""
    mse: float
    """MSE pooled over all pixels, on [0, 1]."""
    psnr_db: float | None
    """PSNR of the pooled MSE, in dB; None if mse is 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingInfo:
    """What a model was trained on, and how."""

    dataset: str
    """The data and its part, such as "mnist train"."""
    licence: str
    """The data's licence, which may bind whoever uses the weights."""
    num_images: int
    """How many images it was trained on."""
    epochs: int
    """How many times it saw each."""
    command: str
    """The command that trains it again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """A loaded model."""

    name: str
    """The name by which calls ask for it."""
    fingerprint: str
    """SHA-256 of the entropy path, 64 hexadecimal digits."""
    synthesis_hash: str
    """SHA-256 of the synthesis weights, 64 hexadecimal digits."""
    architecture: str
    """The kind of model, such as "ae" or "vae"."""
    accepted_sizes: tuple[SizeRange, ...]
    """The sizes that it accepts."""
    channels: int
    """1 for grey, 3 for RGB."""
    latent_shape: tuple[int, ...]
    """Shape of the latents of the smallest accepted image."""
    num_parameters: int
    """Learned numbers in its transforms."""
    checkpoint_bytes: int
    """Size of its checkpoint in bytes."""
    measured: MeasuredQuality | None
    """Its rate and distortion at its default level, if they were measured."""
    training: TrainingInfo | None
    """Its training, if it is known."""
    is_default: bool
    """Whether a request that names no model gets this one."""
    levels: int
    """How many rate levels it has; level 0 is the coarsest."""
    default_level: int
    """The level of a request that demands no quality."""
    curve: tuple[MeasuredQuality, ...]
    """Its rate and distortion at every level, the coarsest first; empty if there is one level,
    or if they were not measured."""
    labels: tuple[str, ...]
    """Of a model conditioned on a label: what its levels from 1 up stand for; level 0 is none."""
    version: str
    """Which version of the model this is; empty from a server that has but one of each."""
    has_eighths: bool
    """Whether levels may lie between two, in steps of 1/8."""
    is_current: bool
    """Whether this version answers to the name."""

    @property
    def reference(self) -> str:
        """NAME@VERSION, by which calls ask for just this version."""
        return f"{self.name}@{self.version}" if self.version else self.name


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerInfo:
    """A server's version and limits."""

    version: str
    """Version of the software, such as "0.1.0"."""
    max_images: int
    """The most items in a request."""
    max_image_bytes: int
    """The most bytes in an encoded image."""
    max_image_pixels: int
    """The most pixels (height x width) in an image."""
    max_message_bytes: int
    """The most bytes in a message."""
    device: str
    """The device that runs the transforms, such as "cpu" or "cuda:0"."""
    image_formats: tuple[str, ...]
    """Formats accepted as encoded images, such as "PNG"."""
