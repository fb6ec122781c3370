"""Memory of unloaded models, given back as soon as no call uses them."""

import queue
import threading
import time
import weakref

import torch

from kompakt_codec.allocator import return_free_blocks
from kompakt_codec.cuda import CUDA_LOCK
from kompakt_service.loading import LoadedModel

_SETTLE_SECONDS = 0.05
"""From the end of the last call that held a model to that of the threads' work for it."""


class MemoryKeeper:
    """Waits, on a thread of its own, for unloaded models to fall out of use."""

    def __init__(self) -> None:
        # Its put may be called from anywhere, also from within a garbage collection.
        self._unused: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self._thread.start()

    def free_when_unused(self, model: LoadedModel) -> None:
        """Give a model's memory back once nobody refers to it; the caller must not either."""
        weakref.finalize(model, self._unused.put, True).atexit = False

    def close(self) -> None:
        """Stop waiting."""
        self._unused.put(False)
        self._thread.join()

    def _run(self) -> None:
        while self._unused.get():
            time.sleep(_SETTLE_SECONDS)
            if torch.cuda.is_available():
                with CUDA_LOCK:
                    torch.cuda.empty_cache()
            return_free_blocks()
