"""The rounds of a chain, played again along measured texts, with other lengths and thresholds than they had.

The stops are those of decoding itself: budgets, lengths, thresholds on the heads' own numbers; what a forward takes is
looked up. What is taken for granted: after a refused token a draft goes on as it would have on the text.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from registry.planning.costs import ChainCosts
from registry.planning.lengths import FIXED, DraftLengths
from registry.planning.trace import EdgeTrace, TextTrace

PASSES: Final = 4  # over the same texts, where chance decides what is kept
SEED: Final = 0


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What came of it: `seconds`, of which `prompt_seconds` went into prompts; per level forwards, per edge tokens."""

    tokens: int
    seconds: float
    prompt_seconds: float
    forwards: tuple[int, ...]
    proposed: tuple[int, ...]
    accepted: tuple[int, ...]

    @property
    def seconds_per_token(self) -> float:
        """While decoding: prompts are not counted."""
        return (self.seconds - self.prompt_seconds) / self.tokens

    @property
    def acceptance(self) -> tuple[float | None, ...]:
        """Of each edge, of its proposed tokens the share that was kept."""
        return tuple(
            kept / count if count else None for kept, count in zip(self.accepted, self.proposed, strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class _Text:
    """One text of one pass: for each edge whether the token at a place is kept, and what is said of it.

    `foreseen` is what is said once the token was read, `next_foreseen` what is said before.
    """

    prompt_tokens: int
    kept: tuple[list[bool], ...]
    foreseen: tuple[list[float] | None, ...]
    next_foreseen: tuple[tuple[float, ...], ...]
    length: int


class Replay:
    """A chain and the texts it is played along.

    Args:
        costs: What its steps take.
        traces: One per edge, smallest first, along the same texts of the chain's last model; none for a model alone.
        prompts: For a model alone, the lengths of prompts and of texts.
        ahead: The lowest level drafts ahead of the host, as on a GPU: then every step of a draft but the first asks
            its head.
        early: There a step may be launched before the last one's answer, as recorded ones are: a stop by a head is
            taken to cost a step in vain, which is the most that it costs.

    Attributes:
        asked: Edges whose head is known to answer.
    """

    def __init__(
        self,
        costs: ChainCosts,
        traces: Sequence[EdgeTrace] = (),
        *,
        prompts: Sequence[tuple[int, int]] = (),
        ahead: bool = False,
        early: bool = False,
    ) -> None:
        self.costs = costs
        self.ahead = ahead
        self.early = early
        self.edges = len(traces)
        self.asked = tuple(edge for edge, trace in enumerate(traces) if trace.foreseen)
        self._texts = list(_texts(traces)) if traces else [_plain(*one) for one in prompts]

    def run(self, lengths: DraftLengths) -> Replayed:
        """All texts with these lengths."""
        run = _Run(self, lengths)
        for text in self._texts:
            run.decode(text)
        return Replayed(
            tokens=sum(text.length for text in self._texts),
            seconds=run.seconds,
            prompt_seconds=run.prompt_seconds,
            forwards=tuple(run.forwards),
            proposed=tuple(run.proposed),
            accepted=tuple(run.accepted),
        )


class _Run:
    """The rounds themselves, as `heads.rounds` has them; places are counted from the first new token."""

    def __init__(self, replay: Replay, lengths: DraftLengths) -> None:
        self.costs, self.lengths = replay.costs, lengths
        self.ahead, self.early = replay.ahead, replay.early
        self.top = replay.edges
        self.seconds = self.prompt_seconds = 0.0
        self.forwards = [0] * (self.top + 1)
        self.proposed = [0] * self.top
        self.accepted = [0] * self.top
        self.end = 0
        self.cached = [0] * (self.top + 1)

    def decode(self, text: _Text) -> None:
        """One text, prompt included."""
        self.text = text
        self.end = 0
        self.cached = [-1] * (self.top + 1)  # the prompt's last token is fed as any other
        self.unread = [text.prompt_tokens - 1] * (self.top + 1)
        while self.end < text.length:
            start = self.end
            if self.top:
                self._verify(self.top, start, text.length - start)
            else:
                self._draw(start, 1)

    def _propose(self, index: int, budget: int) -> int:
        """Let a level below the top append tokens; how many."""
        start = self.end
        budget = min(budget, self.lengths.max_draft[index])
        if budget <= 0:
            return 0
        least, limit = self.lengths.min_draft[index], self.lengths.threshold[index]
        asks = limit < FIXED and self.text.foreseen[index] is not None
        survival = 1.0
        while True:
            left = budget - (self.end - start)
            survival *= (
                self._draw(start, left, asks=asks)
                if index == 0
                else self._verify(index, start, left, asks=asks)
            )
            drafted = self.end - start
            if drafted >= budget:
                return drafted
            if asks and drafted >= least and 1 - survival * self._next(index) > limit:
                if self.early and index == 0:
                    self._draw_in_vain()
                return drafted

    def _draw(self, start: int, budget: int, *, asks: bool = False) -> float:
        end = self.end
        self._forward(0, end - self.cached[0])
        self.seconds += self.costs.draw
        self.cached[0] = end
        self.end = end + 1
        if asks and end > start and (budget > 1 or self.ahead):
            return self._asked(0, end - 1, end)
        return 1.0

    def _draw_in_vain(self) -> None:
        """The step that was on its way when a draft ahead was stopped."""
        self._forward(0, 1)
        self.seconds += self.costs.draw + self.costs.heads[0]
        self.cached[0] = self.end

    def _verify(self, index: int, start: int, budget: int, *, asks: bool = False) -> float:
        end = self.end
        count = self._propose(index - 1, budget - 1)
        self._forward(index, self.end - self.cached[index])
        self.seconds += self.costs.verify[index - 1]
        flags = self.text.kept[index - 1]
        kept = 0
        while kept < count and flags[end + kept]:
            kept += 1
        self.proposed[index - 1] += count
        self.accepted[index - 1] += kept
        self.end = end + kept + 1
        self.cached[index] = self.end - 1
        for below in range(index):
            self.cached[below] = min(self.cached[below], self.end - 1)
        if asks:
            return self._asked(index, end - 1 if end > start else end, end + kept)
        return 1.0

    def _asked(self, index: int, first: int, past: int) -> float:
        """What the head of a level's edge says of places first .. past - 1, in one question."""
        self.seconds += self.costs.heads[index]
        numbers = self.text.foreseen[index]
        product = 1.0
        if numbers is not None:
            for place in range(first, past):
                product *= numbers[place]
        return product

    def _next(self, index: int) -> float:
        """What is said of the token drawn last, which nothing has read."""
        numbers = self.text.next_foreseen[index]
        return numbers[self.end - 1] if numbers else 1.0

    def _forward(self, index: int, query: int) -> None:
        self.forwards[index] += 1
        self.seconds += self.costs.forward(index, query)
        if self.unread[index]:
            read = self.costs.prompt[index] * self.unread[index]
            self.seconds += read
            self.prompt_seconds += read
            self.unread[index] = 0


def _texts(traces: Sequence[EdgeTrace]) -> list[_Text]:
    """Every pass over every text; one pass where nothing is left to chance."""
    certain = all(share in (0.0, 1.0) for trace in traces for text in trace.texts for share in text.kept)
    chance = random.Random(SEED)  # noqa: S311 - a simulation
    return [
        _drawn([trace.texts[number] for trace in traces], chance)
        for _ in range(1 if certain else PASSES)
        for number in range(len(traces[0].texts))
    ]


def _drawn(edges: Sequence[TextTrace], chance: random.Random) -> _Text:
    """Decide what is kept, from the top edge down: what an inner edge keeps depends on what came of it above."""
    length = len(edges[-1].kept)
    kept: list[list[bool]] = []
    foreseen: list[list[float] | None] = []
    above = [True] * length
    for edge in reversed(edges):
        otherwise = edge.kept_otherwise or edge.kept
        above = [
            chance.random() < (edge.kept[place] if above[place] else otherwise[place])
            for place in range(length)
        ]
        kept.insert(0, above)
        foreseen.insert(
            0,
            [
                edge.foreseen_kept[place] if above[place] else edge.foreseen_refused[place]
                for place in range(length)
            ]
            if edge.foreseen_kept
            else None,
        )
    return _Text(
        prompt_tokens=edges[0].prompt_tokens,
        kept=tuple(kept),
        foreseen=tuple(foreseen),
        next_foreseen=tuple(edge.next_foreseen for edge in edges),
        length=length,
    )


def _plain(prompt_tokens: int, length: int) -> _Text:
    return _Text(prompt_tokens=prompt_tokens, kept=(), foreseen=(), next_foreseen=(), length=length)
