"""What ``torchrun`` tells a process that it starts, in its environment."""

import os


def is_launched() -> bool:
    """Whether torchrun started this process (``torch.distributed.is_torchelastic_launched``)."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launched_rank() -> int:
    """The number of this process among those that torchrun started; 0 without it."""
    return int(os.environ["RANK"]) if is_launched() else 0


def local_rank() -> int:
    """The same among those on this machine."""
    return int(os.environ["LOCAL_RANK"]) if is_launched() else 0
