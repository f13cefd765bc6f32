"""An edge of a chain at work: how long it drafts, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from heads.outlooks import next_odds, read_odds
from registry.records import Calibration, Outlook


class AcceptanceHead(Protocol):
    """What is asked of a head while decoding."""

    @property
    def calibration(self) -> Calibration | None:
        """What makes its numbers probabilities, if anything."""
        ...

    def acceptance(self, hidden: Tensor) -> Tensor:
        """How likely tokens are kept, (n, hidden) -> (n,), float32."""
        ...

    def logit(self, hidden: Tensor) -> Tensor:
        """The same as raw log odds, (n, hidden) -> (n,), float32."""
        ...


def outlook_of(head: AcceptanceHead | None, *, greedy: bool) -> Outlook | None:
    """What is to be made of a head's logit and the model's confidence, where that was fitted for this way to draw."""
    if head is None or head.calibration is None:
        return None
    return head.calibration.outlook(greedy=greedy)


@dataclass(frozen=True, kw_only=True)
class Edge:
    """How one level drafts for the next: at least min_draft tokens, at most max_draft.

    In between it stops as soon as 1 - survival exceeds the threshold. Survival is the product of what is said of each
    token of the draft: by the head alone of those that the level has read, as the published rule has it; with an
    outlook by head and confidence together, of the token drawn last, too, which no head has read. Without both, or with
    a threshold of 1, it drafts max_draft tokens. A heuristic edge asks nobody: it starts with five tokens, drafts two
    more when all were kept and one less when not, within the same bounds, as transformers' assisted generation does.
    """

    head: AcceptanceHead | None
    min_draft: int
    max_draft: int
    threshold: float
    heuristic: bool = False
    outlook: Outlook | None = None

    @property
    def asks(self) -> bool:
        """Whether anything but the bounds decides."""
        said = self.head is not None or self.outlook is not None
        return said and self.threshold < 1 and not self.heuristic

    def kept(self, hidden: Tensor, confidence: Tensor | None) -> Tensor:
        """How likely tokens are kept that the level has read.

        Args:
            hidden: (n, hidden), its last hidden states at these tokens.
            confidence: (n,), of the rows that they were drawn from; only with an outlook.

        Returns:
            (n,), float32.
        """
        if self.outlook is None or confidence is None:
            return torch.ones(len(hidden)) if self.head is None else self.head.acceptance(hidden)
        logit = self.logit(hidden)
        said = 0.0 if logit is None else logit.to(confidence.device)
        return torch.sigmoid(read_odds(self.outlook, said, confidence))

    def next_kept(self, confidence: Tensor) -> Tensor:
        """How likely tokens are kept that are drawn and not read yet, by their rows' confidence (n,); ones by none."""
        if self.outlook is None:
            return torch.ones_like(confidence)
        return torch.sigmoid(next_odds(self.outlook, confidence))

    def logit(self, hidden: Tensor) -> Tensor | None:
        """What the head says, raw, (n, hidden) -> (n,); None where nothing is made of it."""
        if self.head is None or self.outlook is None or not self.outlook.head:
            return None
        return self.head.logit(hidden)

    def clamped(self, length: int) -> int:
        """The nearest length within the bounds."""
        return min(self.max_draft, max(self.min_draft, length))


@dataclass(kw_only=True)
class Tally:
    """Tokens a level handed up, and how many of those the level above kept.

    `proposed_at[i]` counts the rounds that proposed an i-th token, from 0, `accepted_at[i]` those that kept it;
    `head_seconds` is the time of the host in the edge's head, but for steps that are recorded in one piece with it:
    `head_recorded` says that there were such.
    """

    proposed: int = 0
    accepted: int = 0
    proposed_at: list[int] = field(default_factory=list)
    accepted_at: list[int] = field(default_factory=list)
    head_seconds: float = 0.0
    head_recorded: bool = False

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
