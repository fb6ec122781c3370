"""The bare transforms in ONNX Runtime, as every peer runs them."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.peers import ITEM_SHAPES, ITEM_TYPES

MAX_BATCH = 64
MAX_WAIT_SECONDS = 0.002


class Transform:
    """One of the transforms: a batch of images to latents, or back."""

    def __init__(self, directory: Path | str, name: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(Path(directory) / f"{name}.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._shape, self._dtype = ITEM_SHAPES[name], ITEM_TYPES[name]

    def __call__(self, batch: Any) -> Any:
        """Transform uint8 images (N, 28, 28) to int8 latents (N, 24), or the reverse."""
        return self._session.run(None, {"batch": batch})[0]

    def of_bytes(self, items: list[bytes]) -> list[bytes]:
        """The same for items as bytes."""
        batch = np.frombuffer(b"".join(items), self._dtype).reshape(len(items), *self._shape)
        return [one.tobytes() for one in self(batch)]


def parse_arguments(name: str, description: str | None) -> argparse.Namespace:
    """The flags that every peer's server takes."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.peers.{name}", description=description
    )
    parser.add_argument("--models", required=True, help="directory of the ONNX files")
    parser.add_argument("--port", type=int, required=True)
    return parser.parse_args()
