"""Numbers on their way between the host and a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

HERE: Final = "cpu"  # for its numbers nobody waits


def is_listed(numbers: Tensor) -> bool:
    """Whether a tensor holds all its numbers: on 'meta' there are none, a sparse or nested one is no list of them."""
    return numbers.layout is torch.strided and not numbers.is_nested and not numbers.is_meta


def sent(numbers: Sequence[int], device: torch.device) -> Tensor:
    """(n,), int64; from memory that a GPU reads by itself, so that the host does not wait for what it is doing."""
    if device.type != "cuda":
        return torch.tensor(numbers, dtype=torch.long, device=device)
    pinned = torch.tensor(numbers, dtype=torch.long, device=HERE, pin_memory=True)
    return pinned.to(device, non_blocking=True)


def received(whole: Sequence[Tensor], real: Sequence[Tensor] = ()) -> tuple[list[int], list[list[float]]]:
    """What tensors hold, in one wait for the device of the first one.

    Args:
        whole: (n,) each, int64; told one after another.
        real: (n,) each; told apart, to float32's precision.
    """
    device = whole[0].device
    if device.type == HERE:
        return [number for one in whole for number in one.tolist()], [one.tolist() for one in real]
    # whole numbers of the same bits: a kernel for each tensor, where a wait of its own takes longer
    bits = [one.to(device, torch.float32).view(torch.int32).long() for one in real]
    found = torch.cat([*(one.to(device) for one in whole), *bits]).cpu()
    lengths = [len(one) for one in real]
    count = len(found) - sum(lengths)
    numbers = found[count:].int().view(torch.float32).split(lengths) if lengths else ()
    return found[:count].tolist(), [one.tolist() for one in numbers]
