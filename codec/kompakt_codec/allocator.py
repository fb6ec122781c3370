"""The C allocator, told to keep the memory of large tensors."""

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 1 << 27
"""What is larger, such as the pixels of a large image, goes back at once."""


def keep_large_blocks() -> bool:
    """Let glibc reuse blocks of up to 128 MiB instead of giving each back to the kernel.

    A transform frees and takes the same activations in every batch; page faults on fresh memory can
    take as long as the arithmetic. For a process that trains or serves; true if it was done.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return all(
        mallopt(option, _LARGE_BYTES) == 1 for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD)
    )


def return_free_blocks() -> bool:
    """Give the kernel what glibc keeps of freed memory; true if there was any to give."""
    if not sys.platform.startswith("linux"):
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    return trim is not None and trim(0) == 1
