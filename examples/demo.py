"""``make demo``: the main job, end to end, on this machine.

Starts the service on its default checkpoints, compresses real digits through the SDK, decompresses
them, prints the table against ZIP and the lossy codecs, draws originals beside reconstructions, and
stops the service.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
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

MODELS = ("mnist-ae", "mnist-context", "mnist-vae")
SHOWN = 12


def main() -> int:
    """Run the demo. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="where to write to")
    parser.add_argument("--images", type=int, default=100, help="how many digits to measure")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # and stop the service
    arguments.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    digits, source = real_digits(arguments.images)
    console.print(f"{len(digits)} digits: {source}")
    inputs = arguments.out / "digits"
    inputs.mkdir(exist_ok=True)
    for i, digit in enumerate(digits):
        Image.fromarray(digit[..., 0]).save(inputs / f"{i:04d}.png")
    with service() as target, Client(target) as client:
        console.print(f"service: {target}, models {', '.join(m.name for m in client.models())}")
        back = round_trip(client, digits, arguments.out / "streams")
        evaluation = client.evaluate(digits, models=MODELS, profile="embedded", timeout=600)
    picture = arguments.out / "digits.png"
    rows = {"original": digits, **back}
    plot_images(picture, {k: v[:SHOWN] for k, v in rows.items()}, title="Decoded by the service")
    console.print(comparison(evaluation))
    console.print(
        f"wrote {picture}, the digits to {inputs} and their streams, as files, to "
        f"{arguments.out / 'streams'}; the service has stopped"
    )
    return 0


def real_digits(count: int) -> tuple[np.ndarray, str]:
    """MNIST's test digits if they can be had, else scikit-learn's, as uint8 (N, 28, 28, 1)."""
    try:
        return load_dataset("mnist").test[:count], "the first of MNIST's test split"
    except TrainingError:
        source = (
            "scikit-learn's 8x8 digits, enlarged: MNIST is neither in KOMPAKT_DATA_DIR nor could "
            "it be downloaded, and the models were trained on MNIST"
        )
    small = (load_digits().images[:count] * (255 / 16)).astype(np.uint8)
    # Like MNIST's: 20 pixels high, in the middle of a black 28x28 field.
    large = [
        np.asarray(Image.fromarray(one).resize((20, 20), Image.Resampling.BICUBIC)) for one in small
    ]
    digits = np.pad(np.stack(large), ((0, 0), (4, 4), (4, 4)))[..., None]
    return digits, source


@contextmanager
def service() -> Iterator[str]:
    """Run ``kompakt serve`` on free ports; its target. Stopped by SIGTERM at the end.

    Its settings are the defaults: what the environment says is for another server.
    """
    command = [f"{Path(sys.executable).parent}/kompakt", "serve", "--host", "127.0.0.1"]
    flags = ["--port", "0", "--metrics-port", "0", "--log-format", "json"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KOMPAKT_")}
    process = subprocess.Popen(
        [*command, *flags], stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr is not None
    try:
        yield f"127.0.0.1:{port_of(process.stderr)}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def port_of(log: Iterable[str]) -> int:
    """The port that a service's log names. Ends the demo with its last words if it names none."""
    words = "it said nothing"
    for line in log:
        words = line.strip() or words
        record = json.loads(line) if line.startswith("{") else {}
        if record.get("message") == "serving":
            return int(record["port"])
    raise SystemExit(f"demo: the service did not start: {words}")


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
    """The pooled measurements: each model with the lossy codecs at its MSE, then the lossless."""
    zipped = next(m.bytes_per_image for m in evaluation.pooled if m.codec == "zip")
    table = Table(title="Mean of real files, and of the models' embedded frames")
    table.add_column("codec", no_wrap=True)
    for name in ("bytes", "bpp", "MSE", "PSNR dB", "SSIM", "vs ZIP"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in (*MODELS, ""):
        for one in sorted(in_group(evaluation.pooled, group), key=lambda m: m.size_bytes):
            table.add_row(
                f"  {one.codec}, as good" if one.reference_model else one.codec,
                f"{one.bytes_per_image:.1f}",
                f"{one.bits_per_pixel:.3f}",
                f"{one.mse:.4f}" if one.mse else "lossless",
                "" if one.psnr_db is None else f"{one.psnr_db:.2f}",
                "" if one.ssim is None else f"{one.ssim:.3f}",
                f"{zipped / one.bytes_per_image:.1f}x",
            )
        table.add_section()
    return table


def in_group(pooled: Sequence[Measurement], model: str) -> list[Measurement]:
    """A model and the codecs compared with it; for "" those that stand for themselves."""
    return [
        m for m in pooled if (m.reference_model or (m.codec if m.codec in MODELS else "")) == model
    ]


if __name__ == "__main__":
    raise SystemExit(main())
