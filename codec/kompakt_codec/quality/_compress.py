"""Images to streams of a demanded quality: the model first, then the classical codecs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kompakt_codec.baselines import BASELINES
from kompakt_codec.classical import ClassicalBody, decode_classical
from kompakt_codec.codec import Codec
from kompakt_codec.entropy import Symbols
from kompakt_codec.frame import Profile
from kompakt_codec.grouping import by_shape, in_parts, stacked
from kompakt_codec.images import Pixels
from kompakt_codec.quality._avif import best_with_avif
from kompakt_codec.quality._demand import Demand, Fallback, QualityUnreachableError
from kompakt_codec.quality._engine import Engine
from kompakt_codec.quality._model import ModelTrials, Trial
from kompakt_codec.quality._rival import ANY_LENGTH, HUGE, challenger, may_be_of_use


@dataclass(slots=True, kw_only=True)
class Made:
    """One image's stream."""

    stream: bytes
    """The frame."""
    codec: str
    """The model's name, or a classical codec's."""
    level: float | None = None
    """None for a classical codec."""
    symbols: Symbols | None = None
    """(C, h, w); None for a classical codec."""
    mse: float | None = None
    """Of what the stream decodes to, on a scale from 0 to 1; None if it was not measured."""
    reconstruction: Pixels | None = None
    """What the stream decodes to, if it was asked for."""


def compress_with(
    codec: Codec,
    images: Sequence[Pixels],
    demand: Demand,
    *,
    profile: Profile = Profile.FILE,
    reconstruct: bool = False,
) -> list[Made | QualityUnreachableError]:
    """Compress uint8 images (height, width, channels) in this thread; see ``compress_to``."""
    return compress_to(Engine(codec, profile), images, demand, reconstruct=reconstruct)


def compress_to(
    engine: Engine, images: Sequence[Pixels], demand: Demand, *, reconstruct: bool = False
) -> list[Made | QualityUnreachableError]:
    """Compress uint8 images of accepted sizes to what is demanded, or say what is nearest.

    With a bound on distortion: the smallest stream found within it. With one on bytes: the best
    stream found that fits. Otherwise a stream of the level. A classical codec takes over, where
    ``demand.fallback`` allows it, if the model does not meet the bound, or if fewer bytes do within
    the same bound or, where there is none, within the model's own MSE. Raises WrongSizeError, and
    UnsupportedImageError for pixels that are not uint8.
    """
    if not images:
        return []
    contest = open_contest(engine, images, demand, reconstruct=reconstruct)
    return [contest.settle(i) for i in range(len(images))]


class Contest:
    """What ``compress_to`` leaves to be done image by image, in any thread: the classical codecs'
    searches, which may take long, where they can be of use.
    """

    def __init__(
        self,
        rivalry: "_Rivalry",
        images: Sequence[Pixels],
        trials: Sequence[Trial | None],
        contested: Sequence[bool],
    ) -> None:
        self._rivalry = rivalry
        self._images = images
        self._trials = trials
        self._contested = contested

    def settle(self, index: int) -> Made | QualityUnreachableError:
        """The stream of an image, or an error that tells the nearest."""
        return self._rivalry.settle(
            self._images[index], self._trials[index], self._contested[index]
        )


def open_contest(
    engine: Engine, images: Sequence[Pixels], demand: Demand, *, reconstruct: bool = False
) -> Contest:
    """Do the part of ``compress_to`` that all images share: one at least."""
    demand.check_level(engine.codec)
    if demand.fallback is Fallback.THOROUGH:
        BASELINES["avif"].require()
    engine.codec.shapes.require(images)
    trials = ModelTrials(engine, images, demand, keep_decoded=reconstruct)
    trials.find()
    rivalry = _Rivalry(engine, demand, reconstruct=reconstruct)
    contested = rivalry.contested(images, trials.best)
    trials.measure(contested | reconstruct | (demand.max_bytes is not None))
    return Contest(rivalry, images, trials.best, contested.tolist())


class _Rivalry:
    """Between the model's streams and the classical codecs'."""

    def __init__(self, engine: Engine, demand: Demand, *, reconstruct: bool) -> None:
        self._codec = engine.codec
        self._profile = engine.profile
        self._demand = demand
        self._reconstruct = reconstruct
        self._framings: dict[tuple[int, ...], int] = {}

    def _framing(self, pixels: Pixels) -> int:
        size = pixels.shape[:2]
        if size not in self._framings:
            self._framings[size] = self._codec.framing_bytes(size, profile=self._profile)
        return self._framings[size]

    def contested(
        self, images: Sequence[Pixels], trials: Sequence[Trial | None]
    ) -> npt.NDArray[np.bool_]:
        """For which images a classical codec may be of use, (N,)."""
        if not self._demand.falls_back:
            return np.zeros(len(images), np.bool_)
        limits = np.array([self._limit(*pair) for pair in zip(images, trials, strict=True)])
        avif = self._demand.fallback is Fallback.THOROUGH
        may_win = np.ones(len(images), np.bool_)
        for group in by_shape(images):
            if images[group[0]].shape[0] * images[group[0]].shape[1] >= HUGE:
                found = (trials[i] for i in group)
                may_win[group] = [trial is None or not trial.meets for trial in found]
                continue
            for part in in_parts(group, images[group[0]].size):
                may_win[part] = may_be_of_use(stacked(images, part), limits[part], avif=avif)
        return may_win

    def settle(
        self, pixels: Pixels, trial: Trial | None, is_contested: bool
    ) -> Made | QualityUnreachableError:
        """The better of the two, or an error that tells the nearest if neither meets the demand."""
        rival = self._rival(pixels, trial) if is_contested else None
        if rival is not None and self._wins(rival, trial):
            return rival
        assert trial is not None
        if trial.meets:
            return self._of_model(trial)
        nearest = len(trial.stream), trial.mse
        if rival is not None and rival.mse is not None:
            nearest = min(nearest, (len(rival.stream), rival.mse))
        return QualityUnreachableError(self._demand, *nearest)

    def _limit(self, pixels: Pixels, trial: Trial | None) -> int:
        """What a classical payload has to be shorter than to be of use, in bytes."""
        most = self._demand.max_bytes
        if trial is None or (most is None and not trial.meets):
            return ANY_LENGTH
        if most is not None and trial.meets:
            return min(most + 1, ANY_LENGTH) - self._framing(pixels)
        return len(trial.stream) - self._framing(pixels)

    def _rival(self, pixels: Pixels, trial: Trial | None) -> Made | None:
        bound, most = self._demand.mse_bound, self._demand.max_bytes
        if bound is None:
            bound = trial.mse if trial is not None and trial.meets else 1.0
        room = None if most is None else most - self._framing(pixels)
        limit = self._limit(pixels, trial)
        body = challenger(pixels, limit, bound, max_payload=room)
        if self._demand.fallback is Fallback.THOROUGH:
            body = best_with_avif(pixels, limit, bound, body, max_payload=room)
        return None if body is None else self._of_body(body, pixels)

    def _wins(self, rival: Made, trial: Trial | None) -> bool:
        most = self._demand.max_bytes
        if most is not None and len(rival.stream) > most:
            return False
        if trial is None or not trial.meets:
            return True
        if most is None:
            return len(rival.stream) < len(trial.stream)
        assert rival.mse is not None
        return (rival.mse, len(rival.stream)) < (trial.mse, len(trial.stream))

    def _of_model(self, trial: Trial) -> Made:
        return Made(
            stream=trial.stream,
            codec=self._codec.header.name,
            level=trial.level,
            symbols=trial.symbols,
            mse=None if math.isnan(trial.mse) else trial.mse,
            reconstruction=trial.decoded,
        )

    def _of_body(self, body: ClassicalBody, pixels: Pixels) -> Made:
        decoded = pixels
        if body.mse:
            height, width, channels = pixels.shape
            decoded = decode_classical(body.mode, body.payload, (height, width, channels))
        return Made(
            stream=self._frame(body.payload, decoded, body.mode, pixels),
            codec=body.codec,
            mse=body.mse,
            reconstruction=decoded if self._reconstruct else None,
        )

    def _frame(self, payload: bytes, decoded: Symbols | Pixels, mode: int, pixels: Pixels) -> bytes:
        size = pixels.shape[:2]
        return self._codec.pack(payload, decoded, mode, size, profile=self._profile)
