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
    confidence: (n,), float32, log odds of the largest probability in the row that the token was drawn from.
    entropy: (n,), float32, of that row, in nats.
    likeliest: (n,), bool, whether the token drawn is that row's most probable one, which greedy decoding drafts.
    agreed: (n,), bool, whether the target's most probable one is the same as the row's, which greedy decoding keeps.

    Confidence and entropy, what people use in place of a head, are of the model's own rows, at temperature 1, however
    tokens were drawn.
    """

    hidden: torch.Tensor
    acceptance: torch.Tensor
    confidence: torch.Tensor
    entropy: torch.Tensor
    likeliest: torch.Tensor
    agreed: torch.Tensor

    def __len__(self) -> int:
        return len(self.acceptance)

    @property
    def labels(self) -> dict[str, torch.Tensor]:
        """All but the hidden states, by name."""
        return {name: getattr(self, name) for name in LABELS}

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


LABELS = tuple(one.name for one in fields(Examples) if one.name != "hidden")
