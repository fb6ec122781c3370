"""Where half the bits are faster."""

import torch


def reduced_precision(device: torch.device, *, enabled: bool = True) -> torch.autocast:
    """A context in which convolutions and matrix products run in bfloat16, if that is faster.

    That is on CUDA, and on CPUs that multiply bfloat16 in hardware. Never around an entropy path.
    """
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled and fast)
