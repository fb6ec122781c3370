"""The memory that a codec takes: the peak of a process of its own."""

import argparse
import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kompakt_codec.baselines import BASELINES, LossyBaseline
from kompakt_codec.images import Pixels

_QUALITY = 75
_STATUS = Path("/proc/self/status")
_PEAK = "VmHWM:"


def peak_memory_mib(images: Sequence[Pixels], *, codec: str | Path) -> float | None:
    """The most memory that a new process takes to encode and decode the largest of some images.

    In MiB that are resident, Python and all libraries included. ``codec`` is a baseline's name, of
    which quality 75 is taken, or a checkpoint's path, of which the default level. None where the
    system does not tell (it is read from /proc), and where that process dies, as for want of
    memory: what else was measured is worth no less.
    """
    if not _STATUS.exists():
        return None
    largest = max(images, key=lambda image: image.size)
    buffer = io.BytesIO()
    np.save(buffer, largest)
    option = "--model" if isinstance(codec, Path) else "--baseline"
    command = [sys.executable, "-P", "-m", __name__, option, str(codec)]
    done = subprocess.run(
        command,
        input=buffer.getvalue(),
        stdout=subprocess.PIPE,
        check=False,
        process_group=0,  # Ctrl-C is for this process, which ends that one
    )
    return None if done.returncode else int(done.stdout) / 1024


def main(argv: Sequence[str]) -> None:
    """Encode and decode the image on stdin (.npy); the process's peak in KiB goes to stdout."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--baseline", choices=BASELINES)
    parser.add_argument("--model", type=Path)
    args = parser.parse_args(argv)
    pixels = np.load(io.BytesIO(sys.stdin.buffer.read()))
    if args.model:
        _use_model(args.model, pixels)
    else:
        _use_baseline(args.baseline, pixels)
    sys.stdout.write(_peak_kib())


def _use_model(path: Path, pixels: Pixels) -> None:
    import torch  # only here: a classical codec's process is to hold no more than it needs

    from kompakt_codec.codec import Codec
    from kompakt_codec.process import prepare_process

    prepare_process()
    torch.set_num_threads(1)
    codec = Codec.load(path)
    codec.decompress(codec.compress([pixels]))


def _use_baseline(name: str, pixels: Pixels) -> None:
    baseline = BASELINES[name]
    baseline.require()
    if isinstance(baseline, LossyBaseline):
        variant = next(iter(baseline.variants(pixels.shape[2])))
        data = baseline.encode(pixels, _QUALITY, variant)
    else:
        data = baseline.encode(pixels)
    baseline.decode(data, pixels.shape)


def _peak_kib() -> str:
    # Not getrusage's maxrss: that starts from the parent's size.
    [line] = [text for text in _STATUS.read_text().splitlines() if text.startswith(_PEAK)]
    return line.removeprefix(_PEAK).split()[0]


if __name__ == "__main__":
    main(sys.argv[1:])
