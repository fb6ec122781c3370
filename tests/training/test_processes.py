"""Training by several processes: two real ones, started by torchrun and connected by gloo."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kompakt_codec.checkpoint import Checkpoint
from kompakt_training.errors import TrainingError
from kompakt_training.loop import fit, open_trainer
from kompakt_training.processes import Processes
from kompakt_training.run import pick_device
from kompakt_training.tables import read_history
from kompakt_training.trainer import Trainer
from tests.training import two_processes
from tests.training.helpers import TINY, digit_set, digits, tiny_settings, write_pngs

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


def torchrun(folder):
    write_pngs(folder / "mine", digits(120))
    sizes = [word for key, value in TINY["factorized"].items() for word in (f"--{key}", str(value))]
    recipe = ["--epochs", "3", "--batch-size", "8", "--learning-rate", "0.03", *sizes]
    command = ["--model", "factorized", "--dataset", "folder:mine", "--out", "run", *recipe]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "-m", two_processes.__name__),
            *command,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The folder in which two processes have trained, and what they printed."""
    folder = tmp_path_factory.mktemp("together")
    done = torchrun(folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="module")
def seen(together):
    return [json.loads((together[0] / two_processes.SEEN.format(i)).read_text()) for i in range(2)]


def test_all_processes_end_with_the_same_weights(seen):
    first, second = seen
    for weights in ("weights", "average", "vae"):
        assert first[weights] == second[weights]


def test_the_averaged_gradient_is_the_whole_batchs(seen):
    for one in seen:
        assert one["averaged_error"] < 1e-5 * one["largest"] < one["own_error"]


def test_the_run_is_as_one_processs(together):
    folder, out = together
    run = folder / "run"

    history = read_history(run / "history.csv")
    header = Checkpoint.load(run / "mine-factorized.safetensors").header

    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert out.count("epoch 3/3") == out.count("wrote run/mine-factorized.safetensors") == 1
    assert "in 2 processes, 4 images a step each" in out
    assert header.training.details["machine"].endswith(", 2 processes")
    assert "--batch-size 8" in header.training.command


def test_one_process_goes_on_where_two_stopped(together):
    path = together[0] / two_processes.VAE_STATE

    trainer = open_trainer(tiny_settings("vae"), digit_set(80), path=path, resume=True, device=CPU)
    assert trainer.state.epoch == 1
    fit(trainer, path=path)

    assert [row["epoch"] for row in trainer.state.history] == [1, 2]
    assert trainer.state.history[1]["train_loss"] < trainer.state.history[0]["train_loss"]


def test_the_others_say_so_when_a_process_dies(tmp_path):
    program = (
        "import os, torch\n"
        "from kompakt_training.processes import joined\n"
        "with joined(torch.device('cpu')) as processes:\n"
        "    processes.average([torch.ones(3)])\n"
        "    if not processes.is_first: os._exit(9)\n"
        "    processes.average([torch.ones(3)])\n"
    )
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    place["TORCHELASTIC_RUN_ID"] = "test"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **place, "RANK": rank},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    (_, err), _ = (process.communicate() for process in started)

    assert [process.returncode for process in started] == [1, 9]
    assert "TrainingError: another process of this run has failed" in err


@pytest.mark.parametrize(("count", "num_train"), [(3, 200), (8, 200), (2, 7)])
def test_a_batch_that_cannot_be_shared_is_refused(count, num_train):
    with pytest.raises(
        TrainingError, match=rf"must be a multiple of {count}, at least {2 * count}"
    ):
        Trainer(tiny_settings("ae"), digit_set(num_train), CPU, Processes(count=count))


def test_shares_are_the_batch():
    batch = torch.arange(12)
    shares = [Processes(rank=rank, count=3).share(batch) for rank in range(3)]
    assert torch.equal(torch.cat(shares), batch)


def test_each_process_has_a_device_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    for rank in range(2):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        assert pick_device("auto") == torch.device("cuda", rank)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(TrainingError, match="more processes than the 2 CUDA devices"):
        pick_device("auto")


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_threads_are_told_not_to_spin_before_pytorch_is_there(given):
    code = (
        "import kompakt_training, os, sys; print('torch' in sys.modules, os.environ[sys.argv[1]])"
    )
    name = "OMP_WAIT_POLICY"
    env = {key: value for key, value in os.environ.items() if key != name}
    if given:
        env[name] = given
    command = [sys.executable, "-c", code, name]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", given or "PASSIVE"]
