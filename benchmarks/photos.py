"""Photographs through the service, one at a time: seconds of one core for each, both ways.

    python -m benchmarks.photos FOLDER

The server has one core and one thread. Its processor time is what is told, since a caller on the
same machine takes part of the wall clock's; the median over the photographs, and the longest.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.processes import ONE_THREAD, Background, end_on_sigterm, free_port
from kompakt_client import Client

_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")
_FALLBACKS = ("never", "best", "thorough")


def main(argv: Sequence[str] | None = None) -> int:
    """Print a JSON object for each way to compress, of the codecs that made the streams too."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photos", description=__doc__)
    parser.add_argument("folder", type=Path, help="of photographs")
    parser.add_argument("--core", type=int, default=0, help="the server's")
    parser.add_argument("--level", type=float, help="a rate level; default: the model's own")
    parser.add_argument(
        "--fallback", choices=_FALLBACKS, action="append", help="default: never and best"
    )
    arguments = parser.parse_args(argv)
    paths = sorted(p for p in arguments.folder.iterdir() if p.suffix.lower() in _SUFFIXES)
    if not paths:
        parser.error(f"{arguments.folder} holds no photographs")
    end_on_sigterm()
    port = free_port()
    command = [str(Path(sys.executable).parent / "kompakt"), "serve", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--metrics-port", "0"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "service.log")
        with (
            Background(command, {arguments.core}, log, ONE_THREAD) as server,
            Client(f"127.0.0.1:{port}", timeout=300) as client,
        ):
            server.wait_until(lambda: _serves(client))
            photos = [path.read_bytes() for path in paths]
            client.decompress(client.compress(photos[0]))  # what is done at the first call
            process = psutil.Process(server.pid)
            for fallback in arguments.fallback or ("never", "best"):
                options = {"level": arguments.level, "fallback": fallback}
                print(json.dumps(_measured(process, client, photos, options)), flush=True)
    return 0


def _serves(client: Client) -> bool:
    try:
        client.server_info(timeout=1)
    except Exception:  # whatever a server that is starting makes of it
        return False
    return True


def _measured(
    process: psutil.Process, client: Client, photos: Sequence[bytes], options: dict[str, Any]
) -> dict[str, Any]:
    def spent() -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    compressing, decompressing, codecs = [], [], []
    for photo in photos:
        begun = spent()
        made = client.compress(photo, **options)
        compressed = spent()
        client.decompress(made)
        compressing.append(compressed - begun)
        decompressing.append(spent() - compressed)
        codecs.append(made.codec)
    return {
        **options,
        "photos": len(photos),
        "compress_s": round(statistics.median(compressing), 3),
        "compress_longest_s": round(max(compressing), 3),
        "decompress_s": round(statistics.median(decompressing), 3),
        "decompress_longest_s": round(max(decompressing), 3),
        "codecs": {codec: codecs.count(codec) for codec in sorted(set(codecs))},
    }


if __name__ == "__main__":
    sys.exit(main())
