"""Images in three parts: to train on, to choose by, and to report on."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kompakt_codec.models import ImageSpec

Images = npt.NDArray[np.uint8]
LabelNumbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Each image's class, an index (N,) into ``names``, of the three parts; None without any."""

    names: tuple[str, ...] = ()
    train: LabelNumbers | None = None
    val: LabelNumbers | None = None
    test: LabelNumbers | None = None

    @cached_property
    def sha256(self) -> str:
        """Hash of the names and of all images' classes, 64 hexadecimal digits."""
        digest = hashlib.sha256(repr(self.names).encode())
        for part in (self.train, self.val, self.test):
            digest.update(b"" if part is None else part.astype("<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Three disjoint parts, each uint8 (N, height, width, channels), N >= 1.

    Weights are fitted to ``train``, choices made on ``val``; ``test`` is only for the final
    measurement. What is trained on may be larger, whole multiples of the others' sides: an epoch
    sees crops of it. Raises ValueError for images that no model accepts.
    """

    name: str
    """As on the command line, but a folder with its own name instead of its path."""
    licence: str
    train: Images
    val: Images
    test: Images
    labels: Labels = field(default_factory=Labels)
    num_skipped: int = 0
    """What lies in a folder and is no image that can be read."""
    skip_reason: str = ""
    """The first of those, and why it was skipped."""
    crop: int | None = None
    """Side of the tiles that a folder's images were cut into, in pixels; None: they are whole."""
    num_sources: int = 0
    """Images that the tiles were cut from."""
    num_small: int = 0
    """Images of a folder left out as smaller than a tile."""
    num_runs: int = 0
    """Folders of trainings' runs in a folder, left out."""
    num_seen: int = 0
    """Test images of a folder that are, pixel for pixel, among those to train on, or tiles of such
    images."""
    num_left_out: int = 0
    """Tiles to train on that the images hold beyond those taken."""

    def __post_init__(self) -> None:
        _ = self.spec

    @cached_property
    def spec(self) -> ImageSpec:
        """Height, width and channels of the images that the model is for."""
        height, width, channels = self.val.shape[1:]
        return ImageSpec(height=height, width=width, channels=channels)

    @property
    def num_train_tiles(self) -> int:
        """How many ``train_tiles`` there are."""
        rows, columns = self._train_grid
        return len(self.train) * rows * columns

    @property
    def _train_grid(self) -> tuple[int, int]:
        height, width = self.val.shape[1:3]
        return self.train.shape[1] // height, self.train.shape[2] // width

    @property
    def train_tiles(self) -> Images:
        """``train`` in pieces of the others' size: a copy, if they are smaller."""
        height, width, channels = self.val.shape[1:]
        rows, columns = self._train_grid
        grid = self.train.reshape(-1, rows, height, columns, width, channels)
        return grid.swapaxes(2, 3).reshape(-1, height, width, channels)

    @cached_property
    def sha256(self) -> str:
        """Hash of all pixels and of how they are split, 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for part in (self.train, self.val, self.test):
            digest.update(repr(part.shape).encode())
            digest.update(np.ascontiguousarray(part).reshape(-1).data)
        return digest.hexdigest()
