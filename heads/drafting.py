"""Drafting ahead of the host: the lowest level's steps follow one another on its device, and nobody waits for them.

Every step feeds the token that the last one drew, draws the next, and asks the edge; where drafting should have
stopped is a number on the device too, read together with the verdict on the draft. What was drawn past it is never
looked at, so nothing depends on it. Where a head may stop the draft, the host looks at each step's answer one step
later: by then the next step is on its way, and no more than that one is in vain.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heads.confidence import confidence
from heads.edge import Edge, Tally
from heads.level import Level
from heads.sampling import Rule
from heads.sending import sent


@dataclass(frozen=True)
class Draft:
    """Tokens (k,), int64, and their rows (k, ...), of which the first `count`, (), are proposed."""

    tokens: Tensor
    rows: Tensor
    count: Tensor

    def after(self, pending: Sequence[int]) -> Tensor:
        """(n + k,): these tokens after others that the host knows; one that could not be drawn is fed as 0."""
        return torch.cat((sent(pending, self.tokens.device), self.tokens.clamp(min=0)))


class Flag:
    """A truth value of a device, on its way to the host."""

    def __init__(self, value: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if value.device.type == "cuda":
            self._value = torch.empty((), dtype=torch.bool, pin_memory=True)
            self._value.copy_(value, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(value.device))
        else:
            self._value = value

    def read(self) -> bool:
        """Wait for what was asked of the device before this value, and for nothing after it."""
        if self._event is not None:
            self._event.synchronize()
        return bool(self._value)


def draft_ahead(
    level: Level,
    pending: Sequence[int],
    *,
    edge: Edge,
    tally: Tally,
    steps: int,
    rule: Rule,
    end_tokens: frozenset[int],
    vocab_size: int,
) -> Draft:
    """Draft up to `steps` tokens, at least one.

    Args:
        level: The lowest one.
        pending: What it has not been fed yet; the last of it is a token that the level above has settled, so the head
            is not asked about it.
        edge: Says when the head stops the draft.
        tally: Counts the head's time.
        rule: How rows are made and drawn from.
        end_tokens: Nothing is proposed after one.
        vocab_size: Ids from here on are never drawn.
    """
    tokens: list[Tensor] = []
    rows: list[Tensor] = []
    fed = level.feed(pending, 1)
    device = fed.logits.device
    ends = sent(sorted(end_tokens), device)
    going = torch.ones((), dtype=torch.bool, device=device)
    count = torch.zeros((), dtype=torch.long, device=device)
    survival = torch.ones((), device=device)
    sure: Tensor | None = None  # of the token that is fed
    seen: Flag | None = None
    while True:
        logits = fed.logits[:, :vocab_size]
        rows.append(rule.rows(logits))
        tokens.append(rule.draw(rows[-1]).to(torch.long))
        count = count + going
        if edge.asks:
            started = time.perf_counter()
            if len(tokens) > 1:
                survival = survival * edge.kept(fed.hidden, sure)[0].to(device)
            sure = None if edge.outlook is None else confidence(logits)
            foreseen = survival if sure is None else survival * edge.next_kept(sure)[0]
            tally.head_seconds += time.perf_counter() - started
            if len(tokens) >= edge.min_draft:
                going = going & (1 - foreseen <= edge.threshold)
        going = going & (tokens[-1] != ends).all()
        if len(tokens) == steps or (seen is not None and not seen.read()):
            break
        seen = Flag(going) if edge.asks else None
        fed = level.feed(tokens[-1][None].clamp(min=0), 1)
    return Draft(tokens=torch.stack(tokens), rows=torch.cat(rows), count=count)
