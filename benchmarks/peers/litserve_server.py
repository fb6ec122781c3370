"""LitServe: FastAPI before a worker process. POST /analysis and /synthesis, base64 in JSON."""

import base64
from typing import Any

import litserve

from benchmarks.peers import TRANSFORMS
from benchmarks.peers.transform import MAX_BATCH, MAX_WAIT_SECONDS, Transform, parse_arguments


class TransformAPI(litserve.LitAPI):
    """One transform behind one path."""

    def __init__(self, models: str, name: str) -> None:
        super().__init__(
            max_batch_size=MAX_BATCH, batch_timeout=MAX_WAIT_SECONDS, api_path=f"/{name}"
        )
        self._models = models
        self._name = name

    def setup(self, device: str) -> None:
        """Load the transform, in the worker."""
        del device
        self._transform = Transform(self._models, self._name)

    def decode_request(self, request: dict[str, str]) -> bytes:
        """JSON to bytes."""
        return base64.b64decode(request["data"])

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """Leave the items as they are."""
        return inputs

    def predict(self, x: list[bytes]) -> list[bytes]:
        """Transform a batch."""
        return self._transform.of_bytes(x)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """Leave the items as they are."""
        return output

    def encode_response(self, output: bytes) -> dict[str, Any]:
        """Bytes to JSON."""
        return {"data": base64.b64encode(output).decode()}


def main() -> None:
    """Serve until a signal."""
    arguments = parse_arguments("litserve_server", __doc__)
    apis = [TransformAPI(arguments.models, name) for name in TRANSFORMS.values()]
    server = litserve.LitServer(apis, accelerator="cpu", devices=1)
    server.run(
        host="127.0.0.1", port=arguments.port, log_level="warning", generate_client_file=False
    )


if __name__ == "__main__":
    main()
