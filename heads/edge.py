"""An edge of a chain at work: how long it drafts, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor


class AcceptanceHead(Protocol):
    """What is asked of a head while decoding."""

    def acceptance(self, hidden: Tensor) -> Tensor:
        """(n, hidden) -> (n,), float32."""
        ...


@dataclass(frozen=True, kw_only=True)
class Edge:
    """How one level drafts for the next: at least min_draft tokens, at most max_draft.

    In between it stops as soon as 1 - survival exceeds the threshold; without a head, or with a threshold
    of 1, it drafts max_draft tokens. A heuristic edge asks no head: it starts with five tokens, drafts two more
    when all were kept and one less when not, within the same bounds, as transformers' assisted generation does.
    """

    head: AcceptanceHead | None
    min_draft: int
    max_draft: int
    threshold: float
    heuristic: bool = False

    @property
    def asks(self) -> bool:
        """Whether the head decides anything."""
        return self.head is not None and self.threshold < 1 and not self.heuristic

    def clamped(self, length: int) -> int:
        """The nearest length within the bounds."""
        return min(self.max_draft, max(self.min_draft, length))


@dataclass(kw_only=True)
class Tally:
    """Tokens a level handed up, and how many of those the level above kept.

    `proposed_at[i]` counts the rounds that proposed an i-th token, from 0, `accepted_at[i]` those that kept it;
    `head_seconds` is the time of the host in the edge's head.
    """

    proposed: int = 0
    accepted: int = 0
    proposed_at: list[int] = field(default_factory=list)
    accepted_at: list[int] = field(default_factory=list)
    head_seconds: float = 0.0

    def count(self, proposed: int, accepted: int) -> None:
        """One round more."""
        self.proposed += proposed
        self.accepted += accepted
        while len(self.proposed_at) < proposed:
            self.proposed_at.append(0)
            self.accepted_at.append(0)
        for place in range(proposed):
            self.proposed_at[place] += 1
            self.accepted_at[place] += place < accepted
