"""``make demo``: the main job, end to end, on this machine.

Starts the service on its default checkpoints, compresses real digits through the SDK, decompresses
them, prints the table against ZIP and the lossy codecs, draws originals beside reconstructions, and
stops the service.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits

from kompakt_client import Client, Evaluation, Measurement
from kompakt_training.data import load_dataset
from kompakt_training.errors import TrainingError
from kompakt_training.plots import plot_images

MODELS = ("mnist-ae", "mnist-vae")
SHOWN = 12


def main() -> int:
    """Run the demo. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="where to write to")
    parser.add_argument("--images", type=int, default=100, help="how many digits to measure")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    digits, source = real_digits(arguments.images)
    console.print(f"{len(digits)} digits: {source}")
    with service() as target, Client(target) as client:
        console.print(f"service: {target}, models {', '.join(m.name for m in client.models())}")
        back = round_trip(client, digits, arguments.out / "streams")
        evaluation = client.evaluate(digits, models=MODELS, profile="embedded", timeout=600)
    picture = arguments.out / "digits.png"
    rows = {"original": digits, **back}
    plot_images(picture, {k: v[:SHOWN] for k, v in rows.items()}, title="Decoded by the service")
    console.print(comparison(evaluation))
    console.print(f"wrote {picture} and {arguments.out / 'streams'}; the service has stopped")
    return 0


def real_digits(count: int) -> tuple[np.ndarray, str]:
    """MNIST's test digits if they can be had, else scikit-learn's, as uint8 (N, 28, 28, 1)."""
    try:
        return load_dataset("mnist").test[:count], "the first of MNIST's test split"
    except TrainingError as exc:
        reason = re.sub(r"\s+", " ", str(exc))
    small = (load_digits().images[:count] * (255 / 16)).astype(np.uint8)
    # Like MNIST's: 20 pixels high, in the middle of a black 28x28 field.
    large = [
        np.asarray(Image.fromarray(one).resize((20, 20), Image.Resampling.BICUBIC)) for one in small
    ]
    digits = np.pad(np.stack(large), ((0, 0), (4, 4), (4, 4)))[..., None]
    return digits, f"scikit-learn's 8x8 digits, enlarged, since MNIST is not here ({reason})"


@contextmanager
def service() -> Iterator[str]:
    """Run ``kompakt serve`` on free ports; its target. Stopped by SIGTERM at the end."""
    command = [Path(sys.executable).parent / "kompakt", "serve", "--host", "127.0.0.1"]
    flags = ["--port", "0", "--metrics-port", "0", "--log-format", "json"]
    process = subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        port = None
        for line in process.stderr:
            record = json.loads(line)
            if record["message"] == "serving":
                port = record["port"]
                break
        if port is None:
            raise SystemExit("demo: the service did not start")
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def round_trip(client: Client, digits: np.ndarray, directory: Path) -> dict[str, np.ndarray]:
    """Compress every digit with every model to a file, and decompress the files."""
    decoded = {}
    for model in MODELS:
        folder = directory / model
        folder.mkdir(parents=True, exist_ok=True)
        made = [result.unwrap() for result in client.compress_batch(digits, model=model)]
        paths = [one.save(folder / f"{i:04d}.kpt") for i, one in enumerate(made)]
        back = [result.unwrap() for result in client.decompress_batch(paths)]
        decoded[model.removeprefix("mnist-").upper()] = np.stack([one.to_numpy() for one in back])
    return decoded


def comparison(evaluation: Evaluation) -> Table:
    """The pooled measurements, smallest first, with their ratio to ZIP."""
    pooled = {(m.codec, m.reference_model): m for m in evaluation.pooled}
    zipped = pooled["zip", ""].bytes_per_image
    table = Table(title="Bytes an image, framing included (real streams and files)")
    table.add_column("codec")
    for name in ("bytes", "bits/pixel", "MSE", "PSNR dB", "SSIM", "x smaller than ZIP"):
        table.add_column(name, justify="right")
    for one in in_order(evaluation.pooled):
        quality = "lossless" if one.mse == 0 else f"{one.mse:.4f}"
        table.add_row(
            one.codec + (f" at {one.reference_model}'s MSE" if one.reference_model else ""),
            f"{one.bytes_per_image:.1f}",
            f"{one.bits_per_pixel:.3f}",
            quality,
            "" if one.psnr_db is None else f"{one.psnr_db:.2f}",
            "" if one.ssim is None else f"{one.ssim:.3f}",
            f"{zipped / one.bytes_per_image:.1f}",
        )
    return table


def in_order(pooled: Sequence[Measurement]) -> list[Measurement]:
    """Each model with what it is compared with at its quality; then the lossless codecs."""
    return sorted(
        pooled,
        key=lambda m: (
            m.mse == 0,
            m.reference_model or m.codec,
            bool(m.reference_model),
            m.size_bytes,
        ),
    )


if __name__ == "__main__":
    raise SystemExit(main())
