"""Positions to learn from or to judge by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Positions to learn from or to judge by.

    hidden: (n, hidden_size), the source's last hidden state at the drawn token's own position.
    acceptance: (n,), float32, the probability that the target accepts that token.
    max_probability, entropy: (n,), float32, of the row the token was drawn from (nats): what people use
        in place of a head.
    """

    hidden: torch.Tensor
    acceptance: torch.Tensor
    max_probability: torch.Tensor
    entropy: torch.Tensor

    def __len__(self) -> int:
        return len(self.acceptance)

    def of(self, chosen: torch.Tensor) -> Examples:
        """Those that a mask or a list of indices chooses."""
        return Examples(**{one.name: getattr(self, one.name)[chosen] for one in fields(self)})

    def on(self, device: str | torch.device) -> Examples:
        """The same on another device."""
        return Examples(**{one.name: getattr(self, one.name).to(device) for one in fields(self)})

    @staticmethod
    def joined(parts: Sequence[Examples]) -> Examples:
        """All parts, one after the other."""
        return Examples(
            **{one.name: torch.cat([getattr(part, one.name) for part in parts]) for one in fields(Examples)}
        )
