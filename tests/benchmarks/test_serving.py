import json
import math
import os
import subprocess
import sys

import pytest

from benchmarks.processes import ROOT, Background, BenchmarkError
from benchmarks.ratios import GOALS

MEASURED = {"unary64_vs_empty", "alone_p50_vs_empty", "bare_images_per_s"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The results of a short real run: no peers."""
    out = tmp_path_factory.mktemp("results") / "serving.json"
    command = [sys.executable, "-m", "benchmarks.serving", "--quick", "--only", "unary"]
    subprocess.run([*command, "--out", str(out)], cwd=ROOT, check=True, capture_output=True)
    return json.loads(out.read_text())


def test_a_run_gives_ratios_of_both_directions(results):
    for of_direction in (results, results["decompress"]):
        assert all(math.isfinite(of_direction[n]) and of_direction[n] > 0 for n in MEASURED)
        assert all(of_direction[name] is None for name in GOALS.keys() - MEASURED)
    assert set(results["why"]) == GOALS.keys() - MEASURED


def test_a_run_says_where_and_when(results):
    assert results["date"].startswith("20")
    assert results["machine"]["cores"] == os.cpu_count()
    assert results["versions"]["grpcio"]
    samples = results["blocks"]["service"]["compress"]["unary64"]
    assert samples[0]["images_per_second"] > 0


def test_a_server_that_ends_says_its_last_words(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no such flag')"]
    with (
        Background(command, os.sched_getaffinity(0), tmp_path / "log") as process,
        pytest.raises(BenchmarkError, match="ended: no such flag"),
    ):
        process.wait_until(lambda: False)
