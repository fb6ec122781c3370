"""What the benchmark of shorter floats prints."""

import pytest

from benchmarks import precision
from kompakt_training.data import load_dataset
from kompakt_training.errors import TrainingError


def test_float16_is_nearer_than_bfloat16(checkpoints, capsys):
    try:
        load_dataset("mnist")
    except TrainingError as exc:
        pytest.skip(f"MNIST is not here: {exc}")
    assert precision.main(["--models", str(checkpoints)]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["model", "level", "format"]
    moved = {(cells[0], cells[2]): float(cells[4].rstrip("%")) for cells in map(str.split, rows)}
    names = [path.stem for path in sorted(checkpoints.glob("*.safetensors"))]
    assert names
    for name in names:
        assert 0 <= moved[name, "float16"] < moved[name, "bfloat16"] <= 100
