"""Images of many kinds that no model was trained on."""

from collections.abc import Callable, Iterator

import numpy as np

Shape = tuple[int, int, int]


def noise(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.integers(0, 256, shape)


def flat(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return np.full(shape, rng.integers(0, 256, shape[2]))


def gradient(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    y, x, channel = np.indices(shape)
    down, right, apart = rng.integers(0, 9, 3)
    return down * y + right * x + 9 * apart * channel


def dots(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    dark, light = rng.integers(0, 256, (2, shape[2]))
    return np.where(rng.random((*shape[:2], 1)) < 0.3 * rng.random(), dark, light)


def text(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    page = np.full(shape, 255)
    for _ in range(rng.integers(1, 30)):
        y, x = rng.integers(0, shape[:2])
        page[y : y + rng.integers(1, 4), x : x + rng.integers(1, 8)] = 0
    return page


def blocks(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    height, width, channels = shape
    coarse = rng.integers(0, rng.integers(2, 8), (height // 3 + 1, width // 3 + 1, channels))
    return np.kron(30 * coarse, np.ones((3, 3, 1), int))[:height, :width]


def soft_noise(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return np.clip(rng.normal(128, 20 * rng.random(), shape).round(), 0, 255)


def disc(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    y, x, _ = np.indices(shape)
    inside = (y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2 < rng.integers(1, 999)
    dark, light = rng.integers(0, 256, (2, shape[2]))
    return np.where(inside, dark, light)


def tiles(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    height, width, channels = shape
    tile = rng.integers(0, 256, (*rng.integers(1, 9, 2), channels))
    return np.tile(tile, (height, width, 1))[:height, :width]


KINDS: list[Callable[[np.random.Generator, Shape], np.ndarray]] = [
    noise,
    flat,
    gradient,
    dots,
    text,
    blocks,
    soft_noise,
    disc,
    tiles,
]


def images(seed: int, count: int, *, side: int = 64) -> Iterator[np.ndarray]:
    """Uint8 images of all kinds in turn, grey and RGB, small ones more often than large ones."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        height, width = (8 * (side / 8) ** rng.random(2) ** 2).astype(int)
        shape = (int(height), int(width), int(rng.choice([1, 3])))
        pixels = KINDS[index % len(KINDS)](rng, shape)
        yield np.ascontiguousarray(np.broadcast_to(pixels, shape).astype(np.uint8))
