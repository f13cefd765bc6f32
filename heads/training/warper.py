"""The rows that tokens are drawn from: temperature and truncation, as decoding has them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from heads.sampling import warp
from registry.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Warper:
    """How logits become rows. The default leaves a model's own law as it is.

    Raises:
        UsageError: a value out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        for name, holds, expected in (
            ("temperature", 0 <= self.temperature < float("inf"), "0 (greedy) or more"),
            ("top_k", self.top_k >= 0, "0 (all tokens) or more"),
            ("top_p", 0 < self.top_p <= 1, "more than 0 and at most 1"),
        ):
            if not holds:
                raise UsageError(f"{name} must be {expected}, got {getattr(self, name)}.")

    def rows(self, logits: torch.Tensor) -> torch.Tensor:
        """(..., vocab) logits -> (..., vocab) probabilities, float32."""
        return warp(logits, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)


def drawn(rows: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """A token of each row by one uniform number: the first whose cumulated probability exceeds it.

    The sum is kept in double precision, so that the tail of a large vocabulary is not lost.

    Args:
        rows: (..., vocab), each summing to about 1.
        uniform: (...), in [0, 1), float64.

    Returns:
        (...), int64; never a token of probability 0.
    """
    place = (
        torch.device("cpu") if rows.device.type == "mps" else rows.device
    )  # that one has no double precision
    summed = rows.to(place, torch.float64).cumsum(dim=-1)
    wanted = uniform.to(place)[..., None] * summed[..., -1:]
    token = torch.searchsorted(summed, wanted, right=True).squeeze(-1).to(rows.device)
    likely = rows.argmax(dim=-1)  # rounding at the very end of the sum could point past it
    return torch.where(token < rows.shape[-1], token, likely)


def uniform_numbers(seed: int, purpose: str, name: int, count: int) -> torch.Tensor:
    """(count,) numbers in [0, 1), float64, that belong to one prompt and one purpose, whatever else is drawn."""
    generator = torch.Generator().manual_seed(_mixed(seed, purpose, name))
    return torch.rand(count, dtype=torch.float64, generator=generator)


def _mixed(seed: int, purpose: str, name: int) -> int:
    digest = hashlib.sha256(f"{seed}/{purpose}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
