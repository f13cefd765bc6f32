"""The rounds of a cascade: each level proposes to the next, the top level keeps what follows its own law.

Level 0 draws token by token. Every level above it lets the one below propose, verifies the proposals in one
forward and draws one token more. Every token that leaves level i is distributed as level i's own row, so
level i + 1 verifies against level i's rows and no others. Whether a position is proposed may depend on the
tokens before it, never on its own.

Source: Huang et al., SpecDec++, arXiv:2405.19715, Algorithm 1, applied level by level.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor

from heads.adjusting import Adjustment
from heads.confidence import confidence
from heads.drafting import Draft, draft_ahead
from heads.edge import Edge, Tally
from heads.level import Fed, Level
from heads.outlooks import chance, next_odds, read_odds
from heads.sampling import Acceptance, Rule
from heads.sending import received
from registry.errors import GenerationError
from registry.records import Outlook

FIRST_HEURISTIC: Final = 5


@dataclass(frozen=True)
class Round:
    """What a round leaves: the level's own rows for the new tokens, and what is said of them.

    `survival` is the product over those that were fed, `next_kept` is of the last one, which was not.
    """

    rows: Tensor
    survival: float
    next_kept: float


@dataclass(frozen=True)
class Said:
    """How likely tokens are kept: those at the positions of a forward, and each one drawn from its row.

    `sure` is how sure the level was at each row; None where nothing is made of it.
    """

    kept: list[float]
    next_kept: list[float]
    sure: list[float] | None = None


@dataclass(frozen=True)
class Asked:
    """What was asked of a forward of n positions: numbers that still lie on a device, (n,) each, and what they tell."""

    numbers: tuple[Tensor, ...]
    tell: Callable[..., Said]


class Rounds:
    """One text in the making.

    Args:
        levels: Smallest first; each has just begun.
        edges: One per neighbouring pair.
        rule: How rows are made, drawn from and verified.
        prompt: Token ids, at least one.
        end_tokens: Nothing follows one of these.
        vocab_size: Ids from here on are padding: never drawn, at any level.
        adjustments: What is done to all levels' logits before rows are made of them.
        ahead: The lowest level drafts without waiting for its numbers, where nothing is to be adjusted: for models on
            an accelerator. Other random numbers are used up, the law is the same.
    """

    def __init__(
        self,
        *,
        levels: Sequence[Level],
        edges: Sequence[Edge],
        rule: Rule,
        prompt: Sequence[int],
        end_tokens: frozenset[int],
        vocab_size: int,
        adjustments: Sequence[Adjustment] = (),
        ahead: bool = False,
    ) -> None:
        self.levels = levels
        self.edges = edges
        self.rule = rule
        self.tokens = list(prompt)
        self.end_tokens = end_tokens
        self.vocab_size = vocab_size
        self.adjustments = adjustments
        self.ahead = ahead and not adjustments
        self.lengths = [edge.clamped(FIRST_HEURISTIC) if edge.heuristic else edge.max_draft for edge in edges]
        self.tallies = [Tally() for _ in edges]
        self._sure = [0.0] * len(levels)  # how sure a level was of the token it drew last

    @torch.inference_mode()
    def commit(self, budget: int) -> list[int]:
        """One round of the top level: 1 to `budget` tokens, settled. Nothing follows an end token."""
        start = len(self.tokens)
        self._round(len(self.levels) - 1, start, budget)
        return self.tokens[start:]

    def propose(self, index: int, budget: int) -> Tensor | None:
        """Let a level below the top append tokens, and return its own rows for them; None for no tokens.

        It rounds until it has enough: budget or max_draft reached, an end token drawn, or survival too low.
        """
        edge = self.edges[index]
        start = len(self.tokens)
        budget = min(budget, self.lengths[index])
        if budget <= 0:
            return None
        rows: list[Tensor] = []
        survival = 1.0
        while True:
            done = self._round(index, start, budget - (len(self.tokens) - start))
            rows.append(done.rows)
            survival *= done.survival
            drafted = len(self.tokens) - start
            if drafted >= budget or self.tokens[-1] in self.end_tokens:
                break
            foreseen = survival * done.next_kept
            if edge.asks and drafted >= edge.min_draft and 1 - foreseen > edge.threshold:
                break
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def _round(self, index: int, start: int, budget: int) -> Round:
        """Append 1 to `budget` tokens at one level. `start` is where its proposal began."""
        return self._draw(start, budget) if index == 0 else self._verify(index, start, budget)

    def _draw(self, start: int, budget: int) -> Round:
        level = self.levels[0]
        end = len(self.tokens)
        fed = level.feed(self.tokens[level.length :], 1)
        rows = self._rows(fed.logits, end)
        drawn = self.rule.draw(rows)
        # what the last step of a budget would be told, nobody asks for
        read = end - 1 >= start
        asked = self._ask(0, fed, read=read) if budget > 1 else None
        (token,), said = self._received([drawn[None]], asked)
        self.tokens.append(self._checked(token, level))
        return self._round_of(0, rows, said, first=0 if read else 1, past=1)

    def _verify(self, index: int, start: int, budget: int) -> Round:
        level = self.levels[index]
        end = len(self.tokens)
        draft = self._drafted_ahead(budget - 1) if index == 1 and self.ahead else None
        if draft is None:
            handed_up = self.propose(index - 1, budget - 1)
            proposed = torch.tensor(self.tokens[end:], dtype=torch.long, device="cpu")
            fed = level.feed(self.tokens[level.length :], len(proposed) + 1)
        else:
            handed_up, proposed = draft.rows, draft.tokens
            fed = level.feed(draft.after(self.tokens[level.length :]), len(proposed) + 1)
        rows = self._rows(fed.logits, end)
        draft_rows = rows[:0] if handed_up is None else handed_up.to(rows.device)
        limit = None if draft is None else draft.count.to(rows.device)
        verdict = self.rule.accept(proposed.to(rows.device), draft_rows, rows, limit)
        asked = self._ask(index, fed, read=True)
        kept, next_token, said = self._read(verdict, draft, asked, end)
        count = len(self.tokens) - end
        self.tallies[index - 1].count(count, kept)
        if self.edges[index - 1].heuristic and count:
            longer = self.lengths[index - 1] + (2 if kept == count else -1)
            self.lengths[index - 1] = self.edges[index - 1].clamped(longer)
        del self.tokens[end + kept :]
        if not (kept and self.tokens[-1] in self.end_tokens):
            self.tokens.append(self._checked(next_token, level))
        # the round's last token is fed by the next round
        for below in self.levels[: index + 1]:
            below.rollback(len(self.tokens) - 1)
        unseen = 0 if end - 1 >= start else 1  # the verified token that the first round feeds never counts
        return self._round_of(index, rows[: len(self.tokens) - end], said, first=unseen, past=kept + 1)

    def _round_of(self, index: int, rows: Tensor, said: Said | None, *, first: int, past: int) -> Round:
        """What a round leaves, by what is said of the positions first .. past - 1 of its forward, which count."""
        if said is None:
            return Round(rows=rows, survival=1.0, next_kept=1.0)
        if said.sure is not None:
            self._sure[index] = said.sure[past - 1]
        return Round(rows=rows, survival=math.prod(said.kept[first:past]), next_kept=said.next_kept[past - 1])

    def _drafted_ahead(self, budget: int) -> Draft | None:
        """What the lowest level proposes, still on its device; None for no tokens."""
        steps = min(budget, self.lengths[0])
        if steps <= 0:
            return None
        return draft_ahead(
            self.levels[0],
            self.tokens[self.levels[0].length :],
            edge=self.edges[0],
            tally=self.tallies[0],
            steps=steps,
            rule=self.rule,
            end_tokens=self.end_tokens,
            vocab_size=self.vocab_size,
        )

    def _read(
        self, verdict: Acceptance, draft: Draft | None, asked: Asked | None, end: int
    ) -> tuple[int, int, Said | None]:
        """The one wait of a round: how many were kept, the next token, what was drafted ahead, and what was said."""
        whole = [torch.stack((verdict.kept, verdict.next_token))]
        if draft is not None:
            whole += [draft.count[None], draft.tokens]
        (kept, next_token, *drafted), said = self._received(whole, asked)
        if draft is not None:
            count, *tokens = drafted
            self.tokens[end:] = [self._checked(token, self.levels[0]) for token in tokens[:count]]
        return kept, next_token, said

    @staticmethod
    def _received(whole: Sequence[Tensor], asked: Asked | None) -> tuple[list[int], Said | None]:
        """Numbers, and what an adviser says, in one wait."""
        if asked is None:
            return received(whole)[0], None
        numbers, answers = received(whole, asked.numbers)
        return numbers, asked.tell(*answers)

    def _rows(self, logits: Tensor, first: int) -> Tensor:
        """Rows of logits (n, vocab); the first is for the token that follows `first` others."""
        logits = logits[:, : self.vocab_size]
        for adjust in self.adjustments:
            logits = adjust(logits, self.tokens, first)
        return self.rule.rows(logits)

    def _ask(self, index: int, fed: Fed, *, read: bool) -> Asked | None:
        """Put a level's adviser to work on a forward; None where nobody asks.

        Args:
            index: The level.
            fed: The forward; before it the level drew the token at its first position.
            read: Whether anything that was fed counts; if not, the head is not asked.
        """
        edge = self.edges[index] if index < len(self.edges) else None
        if edge is None or not edge.asks or not (read or edge.outlook is not None):
            return None
        started = time.perf_counter()
        outlook = edge.outlook
        if outlook is None:
            asked = Asked((edge.kept(fed.hidden, None),), _by_head)
        else:
            sure = confidence(fed.logits[:, : self.vocab_size])
            logit = edge.logit(fed.hidden) if read else None
            numbers = (sure,) if logit is None else (sure, logit)
            asked = Asked(numbers, partial(_by_outlook, outlook, self._sure[index]))
        self.tallies[index].head_seconds += time.perf_counter() - started
        return asked

    def _checked(self, token: int, level: Level) -> int:
        if token < 0:
            raise GenerationError(
                option=f"the logits of {level.name}",
                expected="finite numbers",
                found="NaN or infinity",
                next_step="Load the model in another dtype, bfloat16 or float32.",
            )
        return token


def _by_head(kept: list[float]) -> Said:
    return Said(kept=kept, next_kept=[1.0] * len(kept))


def _by_outlook(outlook: Outlook, before: float, sure: list[float], logit: list[float] | None = None) -> Said:
    """On the host: of a few numbers a tensor's arithmetic takes longer than theirs. `before` is of the first token."""
    said = [0.0] * len(sure) if logit is None else logit
    odds = [read_odds(outlook, *both) for both in zip(said, [before, *sure[:-1]], strict=True)]
    return Said(
        kept=[chance(one) for one in odds],
        next_kept=[chance(next_odds(outlook, one)) for one in sure],
        sure=sure,
    )
