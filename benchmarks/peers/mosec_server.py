"""mosec: a front end in Rust, workers in Python. POST /analysis and /synthesis, raw bytes."""

import os
import sys

from mosec import Runtime, Server, Worker

from benchmarks.peers.transform import MAX_BATCH, MAX_WAIT_SECONDS, Transform, parse_arguments

_MODELS = "KOMPAKT_BENCHMARK_MODELS"


class _TransformWorker(Worker):
    name: str

    def __init__(self) -> None:
        super().__init__()
        self._transform = Transform(os.environ[_MODELS], self.name)

    def deserialize(self, data: bytes) -> bytes:
        return data

    def serialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[bytes]:
        return self._transform.of_bytes(data)


class Analysis(_TransformWorker):
    """Images to latents."""

    name = "analysis"


class Synthesis(_TransformWorker):
    """Latents to images."""

    name = "synthesis"


def main() -> None:
    """Serve until a signal."""
    arguments = parse_arguments("mosec_server", __doc__)
    os.environ[_MODELS] = arguments.models
    sys.argv[1:] = ["--port", str(arguments.port), "--log-level", "warning"]
    server = Server()
    server.register_runtime(
        {
            f"/{worker.name}": [
                Runtime(
                    worker, max_batch_size=MAX_BATCH, max_wait_time=round(MAX_WAIT_SECONDS * 1000)
                )
            ]
            for worker in (Analysis, Synthesis)
        }
    )
    server.run()


if __name__ == "__main__":
    main()
