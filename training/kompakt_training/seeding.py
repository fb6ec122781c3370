"""Random numbers that depend on the run's seed and the epoch alone."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Random numbers of one epoch's own; the caller's generators stay as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(number_of(seed, epoch))
        yield


def number_of(*words: int) -> int:
    """A seed made of several numbers."""
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
