"""8192x8192 pixels through the service in bounded memory, with the default photo model."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from kompakt_client import Client
from kompakt_codec.images import FileFormat, encode_image

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

SIDE = 8192
LIMIT = 2 << 30


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of one worker, and its address."""
    command = [str(Path(sys.executable).parent / "kompakt"), "serve", "--host", "127.0.0.1"]
    command += ["--port", "0", "--metrics-port", "0", "--log-format", "json"]
    command += ["--max-message-bytes", str(256 << 20), "--max-image-pixels", str(SIDE * SIDE)]
    command += ["--max-image-bytes", str(256 << 20)]
    process = subprocess.Popen(
        [*command, "--default-model", "photos"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        records = (json.loads(line) for line in process.stderr)
        port = next(record["port"] for record in records if record["message"] == "serving")
        yield process, f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=60)


def peak(process: subprocess.Popen[str]) -> int:
    """The most resident memory that a process had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text("ascii")
    [kibibytes] = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return 1024 * int(kibibytes)


@pytest.mark.parametrize(
    ("is_raw", "fallback"), [(False, "never"), (False, "best"), (True, "best")]
)
def test_a_large_image_takes_less_than_two_gibibytes(server, is_raw, fallback):
    process, address = server
    photo = load_sample_images().images[0]
    repeats = (-(-SIDE // photo.shape[0]), -(-SIDE // photo.shape[1]), 1)
    image = np.tile(photo, repeats)[:SIDE, :SIDE]
    source = image if is_raw else encode_image(image, FileFormat.PNG)
    with Client(address, timeout=900, max_message_bytes=256 << 20) as client:
        made = client.compress(source, fallback=fallback)
        after_compress = peak(process)
        decoded = client.decompress(made).to_numpy()

    assert decoded.shape == image.shape
    assert np.mean((decoded[:512, :512] / 255.0 - image[:512, :512] / 255.0) ** 2) < 0.01
    print(f"{fallback}: {made.num_bytes} bytes by {made.codec}, {after_compress >> 20} MiB to")
    print(f"compress, {peak(process) >> 20} MiB in all")
    assert peak(process) < LIMIT
