"""What a process that trains or serves sets for all of itself."""

import numpy as np  # noqa: F401  a BLAS that is not loaded yet cannot be told
from threadpoolctl import threadpool_limits

from kompakt_codec.allocator import keep_large_blocks


def prepare_process() -> None:
    """Keep freed memory for the next batch, and give NumPy's BLAS one thread.

    BLAS multiplies the entropy path's integers. Those products are too small to gain by more
    threads, and where other work has the cores, each of them waits for the slowest: a photograph
    took several times as long beside one busy process.
    """
    keep_large_blocks()
    threadpool_limits(1, user_api="blas")
