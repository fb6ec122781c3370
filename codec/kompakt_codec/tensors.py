"""Arrays as PyTorch takes them."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def tensor_of(array: npt.NDArray[Any]) -> torch.Tensor:
    """An array as a tensor: a copy only where PyTorch would refuse it or warn of it."""
    return torch.from_numpy(np.require(array, requirements=("C", "W")))
