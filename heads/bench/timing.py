"""How long work takes, to the end of what it asked of its device."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Final

import torch

REPEATS: Final = 30
UNCOUNTED: Final = 3  # first times: memory is found, kernels are chosen


def settle(device: torch.device) -> None:
    """Wait until a device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one go."""
    settle(device)
    began = time.perf_counter()
    work()
    settle(device)
    return time.perf_counter() - began


def timings(work: Callable[[], object], device: torch.device, *, most: int, seconds: float) -> list[float]:
    """Seconds of several goes: at least one, and no more of them after so many seconds."""
    times: list[float] = []
    while not times or (len(times) < most and sum(times) < seconds):
        times.append(timed(work, device))
    return times


def median_seconds(work: Callable[[], object], device: torch.device, *, repeats: int = REPEATS) -> float:
    """The median of several goes."""
    times = [timed(work, device) for _ in range(repeats + UNCOUNTED)]
    return median(times[UNCOUNTED:])
