"""``kompakt train`` as each of two processes runs it in test_processes, looked at from inside."""

import json
import sys
from pathlib import Path

import torch

from kompakt_codec.models import ImageSpec, build_model
from kompakt_training import run
from kompakt_training.commands import train
from kompakt_training.losses import rate_distortion_loss
from kompakt_training.quantiser import to_unit
from kompakt_training.state import hash_tensors, save_state
from kompakt_training.trainer import Trainer
from tests.training.helpers import TINY, digit_set, digits, tiny_settings

SEEN = "seen-{}.json"
VAE_STATE = "vae.state"
CPU = torch.device("cpu")
fit = run.fit


def look(trainer, **arguments):
    """``fit``, and beside it what a test asks of the processes."""
    processes = trainer.processes
    own, averaged, whole = gradients(processes)
    vae = Trainer(tiny_settings("vae"), digit_set(80), CPU, processes)
    vae.run_epoch()
    if processes.is_first:
        save_state(Path(VAE_STATE), vae.state)
    fit(trainer, **arguments)
    seen = {
        "own_error": (own - whole).abs().max().item(),
        "averaged_error": (averaged - whole).abs().max().item(),
        "largest": whole.abs().max().item(),
        "vae": hash_tensors(vae.model.state_dict()),
        "weights": hash_tensors(trainer.state.weights),
        "average": hash_tensors(trainer.state.average),
        "random": torch.rand(1).item(),
    }
    Path(SEEN.format(processes.rank)).write_text(json.dumps(seen))


def gradients(processes):
    """Of a loss without chance: for half of a batch, averaged, and for the whole batch."""
    torch.manual_seed(0)
    config = {**TINY["factorized"], "levels": 1}
    model = build_model("factorized", ImageSpec(height=8, width=8, channels=1), config).eval()
    batch = to_unit(torch.from_numpy(digits(16)).permute(0, 3, 1, 2))
    whole = gradient(model, batch)
    own = gradient(model, processes.share(batch))
    averaged = [part.clone() for part in own]
    processes.average(averaged)
    return [torch.cat([part.flatten() for part in g]) for g in (own, averaged, whole)]


def gradient(model, batch):
    model.zero_grad()
    rate_distortion_loss(model, batch, 0.5).total.backward()
    return [p.grad.clone() for p in model.parameters()]


if __name__ == "__main__":
    run.fit = look
    sys.exit(train.main(sys.argv[1:]))
