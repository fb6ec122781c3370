"""Images of any size cut into tiles of one."""

from collections.abc import Sequence

import numpy as np
import torch

from kompakt_training.imageset import Images

MIN_SIDE, MAX_SIDE = 4, 512
"""Of the images that models accept."""
MAX_TILES_AN_IMAGE = 256

_LARGEST_DEFAULT_SIDE = 64
_MULTIPLE = 8
_MOST_LEFT_OUT = 0.01
"""Of the images, so that a few thin ones do not make all tiles small."""

Size = tuple[int, int]
"""Height and width."""


def default_side(sizes: Sequence[Size]) -> int:
    """The side of the tiles for images of these sizes: 8 to 64, a multiple of 8.

    It is the shortest side among the images, rounded down, but for a hundredth of them whose sides
    are shorter, and those with a side under 8: they will be left out.
    """
    sides = sorted(min(size) for size in sizes if min(size) >= _MULTIPLE) or [_MULTIPLE]
    shortest = sides[int(_MOST_LEFT_OUT * len(sides))]
    return min(_LARGEST_DEFAULT_SIDE, shortest // _MULTIPLE * _MULTIPLE)


def num_held(size: Size, tile: Size) -> int:
    """How many tiles an image of this size holds."""
    return (size[0] // tile[0]) * (size[1] // tile[1])


def share(sizes: Sequence[Size], tile: Size, *, limit: int) -> list[int]:
    """How many tiles to take of each image, at most ``limit`` in all.

    No image gives more than it holds or than 256. Beyond the limit, images that hold many give
    fewer; if more images hold a tile than are to be taken, the first of these give one each.
    """
    held = np.array([num_held(size, tile) for size in sizes])
    for most in range(MAX_TILES_AN_IMAGE, 0, -1):
        counts = np.minimum(held, most)
        if counts.sum() <= limit:
            return [int(count) for count in counts]
    holds_one = held > 0
    return [int(count) for count in holds_one & (np.cumsum(holds_one) <= limit)]


def crops(images: torch.Tensor, tile: Size, *, mirror: bool) -> torch.Tensor:
    """A crop of each of the images (N, channels, height, width), each at a place of its own.

    With ``mirror``, half of them left to right. Drawn from torch's generator.
    """
    count, _, height, width = images.shape
    top = torch.randint(height - tile[0] + 1, (count, 1))
    left = torch.randint(width - tile[1] + 1, (count, 1))
    rows = top + torch.arange(tile[0])
    columns = left + torch.arange(tile[1])
    if mirror:
        columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    each = torch.arange(count, device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def cut(image: Images, tile: Size, *, count: int, seed: Sequence[int]) -> Images:
    """Cut ``count`` tiles out of an image (height, width, channels): (count, *tile, channels).

    They lie on a grid in the image's middle and do not overlap. Which ones, where the grid has
    more, is drawn by the seed; they stay in reading order.
    """
    height, width = tile
    rows, columns = image.shape[0] // height, image.shape[1] // width
    top, left = (image.shape[0] - rows * height) // 2, (image.shape[1] - columns * width) // 2
    grid = image[top : top + rows * height, left : left + columns * width]
    tiles = grid.reshape(rows, height, columns, width, -1).swapaxes(1, 2)
    chosen = np.random.default_rng(seed).choice(rows * columns, count, replace=False)
    row, column = np.divmod(np.sort(chosen), columns)
    return tiles[row, column]
