"""Offline training: data, losses, loop, evaluation, export, reports."""

import os

# Before PyTorch is imported: its threads spin while they wait for each other, so that beside
# another busy process a training takes several times as long. Alone it takes the same without.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
