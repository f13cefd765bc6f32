"""Numbers of the host on their way to a device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def sent(numbers: Sequence[int], device: torch.device) -> Tensor:
    """(n,), int64; from memory that a GPU reads by itself, so that the host does not wait for what it is doing."""
    if device.type != "cuda":
        return torch.tensor(numbers, dtype=torch.long, device=device)
    return torch.tensor(numbers, dtype=torch.long, pin_memory=True).to(device, non_blocking=True)
