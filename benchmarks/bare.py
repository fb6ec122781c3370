"""The bare codec in this process: what the service can at best reach, without a wire.

Compresses and decompresses batches in one thread, entropy coding and framing included.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.workload import CHECKPOINT, Work
from kompakt_codec.codec import Codec
from kompakt_codec.frame import Profile
from kompakt_codec.process import prepare_process


def images_per_second(
    function: Callable[[Sequence[Any]], object],
    items: Sequence[Any],
    *,
    batch: int,
    seconds: float,
    warm_up: float,
) -> float:
    """How many items a function gets through that takes so many at a time."""
    batches = [items[at : at + batch] for at in range(0, len(items) - batch + 1, batch)]
    function(batches[0])  # what is compiled at the first call
    done, begin = 0, time.perf_counter() + warm_up
    while True:
        for one in batches:
            function(one)
            now = time.perf_counter()
            if now >= begin + seconds:
                return done * batch / (now - begin)
            done += now >= begin


def main(argv: Sequence[str] | None = None) -> int:
    """Print images a second of both directions."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--batch", type=int, default=64, help="images at a time")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each direction")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds before the count")
    arguments = parser.parse_args(argv)
    prepare_process()
    torch.set_num_threads(1)
    codec = Codec.load(arguments.checkpoint)
    work = Work.make(codec)
    timing = {
        "batch": arguments.batch,
        "seconds": arguments.seconds,
        "warm_up": arguments.warm_up,
    }
    rates = {
        "compress": images_per_second(
            lambda images: codec.compress(images, profile=Profile.EMBEDDED),
            list(work.digits),
            **timing,
        ),
        "decompress": images_per_second(
            lambda frames: codec.decompress(frames, profile=Profile.EMBEDDED),
            work.frames,
            **timing,
        ),
    }
    print(json.dumps(rates))
    return 0


if __name__ == "__main__":
    sys.exit(main())
