import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch

from benchmarks import blocks, serving
from benchmarks.blocks import measure_bare, measure_compressai
from benchmarks.machine import describe_run
from benchmarks.plan import Plan
from benchmarks.plot import draw
from benchmarks.processes import ONE_THREAD, ROOT, Background, BenchmarkError, run_for_json
from benchmarks.ratios import GOALS
from benchmarks.report import write_results
from benchmarks.service import Service
from benchmarks.workload import Work

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


@pytest.fixture
def plan(tmp_path):
    digits = np.zeros((1, 28, 28, 1), np.uint8)
    return Plan(directory=tmp_path, work=Work(digits=digits, frames=[], source="none"))


def test_an_interrupted_start_leaves_no_server(plan, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Service, "is_healthy", interrupt)
    service = Service(plan)
    with pytest.raises(KeyboardInterrupt), service:
        pass
    assert not psutil.pid_exists(service._process.pid)


def test_an_interrupted_run_leaves_no_generator(monkeypatch):
    started = []

    class Interrupted(subprocess.Popen):
        def communicate(self, *_, **__):
            started.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_for_json(["sleep", "60"], os.sched_getaffinity(0))
    assert started[0].poll() == -signal.SIGKILL


def test_a_terminated_run_leaves_no_server(tmp_path):
    (tmp_path / "photo.png").touch()
    command = [sys.executable, "-m", "benchmarks.photos", str(tmp_path)]
    process = psutil.Popen(command, cwd=ROOT)
    while not (servers := process.children()):
        assert process.poll() is None
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    assert psutil.wait_procs(servers, 1)[1] == []


def test_a_signal_that_comes_while_a_server_is_started_is_not_lost(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from benchmarks.processes import Background, end_on_sigterm
end_on_sigterm()
os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.SIGTERM))
with Background(["sleep", "60"], os.sched_getaffinity(0), Path(sys.argv[1])):
    pass
"""
    command = [sys.executable, "-c", code, tmp_path / "log"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 128 + signal.SIGTERM


def test_a_server_that_ends_says_its_last_words(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no such flag')"]
    with (
        Background(command, os.sched_getaffinity(0), tmp_path / "log") as process,
        pytest.raises(BenchmarkError, match="ended: no such flag"),
    ):
        process.wait_until(lambda: False)


def test_settings_of_another_server_are_not_the_measured_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("KOMPAKT_WORKERS", "4")
    monkeypatch.setenv("KOMPAKT_TORCH_THREADS", "8")
    with (
        Background(["env"], os.sched_getaffinity(0), tmp_path / "log", ONE_THREAD) as process,
        pytest.raises(BenchmarkError, match="ended"),
    ):
        process.wait_until(lambda: False)
    settings = [s for s in (tmp_path / "log").read_text().split() if s.startswith("KOMPAKT_")]
    assert settings == ["KOMPAKT_TORCH_THREADS=1"]


@pytest.mark.parametrize("measure", [measure_bare, measure_compressai])
def test_long_bursts_are_waited_for(plan, monkeypatch, measure):
    waited = []

    def run(*_, timeout=120, **__):
        waited.append(timeout)
        return {"compress": 1.0, "decompress": 1.0}

    monkeypatch.setattr(blocks, "run_for_json", run)
    monkeypatch.setattr(blocks, "prepare_environment", lambda *_, **__: "python")
    measure(replace(plan, seconds=300.0))
    assert min(waited) > 2 * 300  # both directions


def test_results_outside_a_repository_are_drawn_too(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")  # nor is there a git
    results = {**describe_run(), "blocks": {}}
    assert results["commit"] is None
    write_results(tmp_path / "serving.json", results)
    draw(json.loads((tmp_path / "serving.json").read_text()), tmp_path / "serving.svg")
    assert "unknown" in {path.stem.rpartition("-")[2] for path in tmp_path.iterdir()}


def test_a_run_without_our_own_side_fails_and_overwrites_nothing(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise BenchmarkError("wrong answers")

    monkeypatch.setattr(blocks, "measure_bare", fail)
    monkeypatch.setattr(serving, "end_on_sigterm", lambda: None)
    out = tmp_path / "serving.json"
    out.write_text("of an earlier run")
    affinity, threads = os.sched_getaffinity(0), torch.get_num_threads()
    try:
        assert serving.main(["--quick", "--only", "bare", "--out", str(out)]) == 1
    finally:
        os.sched_setaffinity(0, affinity)
        torch.set_num_threads(threads)
    assert out.read_text() == "of an earlier run"
    assert "wrong answers" in capsys.readouterr().err
