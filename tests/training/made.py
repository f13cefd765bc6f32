"""Positions made of a few numbers, for tests that look at some of their labels."""

from __future__ import annotations

import torch

from heads.training.examples import Examples


def examples_of(hidden: torch.Tensor, acceptance: torch.Tensor, **labels: torch.Tensor) -> Examples:
    """Examples whose labels are zeros and False where nothing else is given."""
    none = torch.zeros(len(acceptance))
    usual = {"confidence": none, "entropy": none, "likeliest": none.bool(), "agreed": none.bool()}
    return Examples(hidden=hidden, acceptance=acceptance, **(usual | labels))
