"""NVIDIA PyTriton: Triton's server before a Python function. gRPC, models analysis and
synthesis.
"""

from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers import ITEM_SHAPES, ITEM_TYPES, TRANSFORMS
from benchmarks.peers.transform import MAX_BATCH, MAX_WAIT_SECONDS, Transform, parse_arguments

_OTHER = {"analysis": "synthesis", "synthesis": "analysis"}


def _infer_function(transform: Transform) -> Any:
    @batch
    def infer(**inputs: Any) -> list[Any]:
        return [transform(inputs["batch"])]

    return infer


def _tensor(transform: str, name: str) -> Tensor:
    """What goes into a transform."""
    dtype = np.dtype(ITEM_TYPES[transform]).type
    return Tensor(name=name, dtype=dtype, shape=ITEM_SHAPES[transform])


def main() -> None:
    """Serve until a signal."""
    arguments = parse_arguments("pytriton_server", __doc__)
    config = TritonConfig(
        allow_http=False, allow_metrics=False, grpc_port=arguments.port, grpc_address="127.0.0.1"
    )
    with Triton(config=config) as triton:
        for name in TRANSFORMS.values():
            triton.bind(
                model_name=name,
                infer_func=_infer_function(Transform(arguments.models, name)),
                inputs=[_tensor(name, "batch")],
                outputs=[_tensor(_OTHER[name], "result")],
                config=ModelConfig(
                    max_batch_size=MAX_BATCH,
                    batcher=DynamicBatcher(
                        max_queue_delay_microseconds=round(MAX_WAIT_SECONDS * 1_000_000)
                    ),
                ),
            )
        triton.serve()


if __name__ == "__main__":
    main()
