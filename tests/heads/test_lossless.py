"""The law of a cascade is the law of its last model: every choice of the real rounds, and faults that would show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

import pytest
import torch
from torch import Tensor

from heads import AcceptancePredictionHead, sampling
from heads.confidence import BY_CONFIDENCE
from heads.edge import Edge
from heads.rounds import Round, Rounds
from heads.sampling import Acceptance, Greedy, Randomness, Rule, Warped, accept
from registry.records import Outlook
from tests.heads.toys import HIDDEN, cascade_law, distance, table_levels, target_law

SHOWS = 0.01  # measured on these tables: 0.03 (unwarped q) to 0.46 (shifted rows)


Advice = Literal["fixed", "heads", "outlook", "confidence"]
ADVICE = get_args(Advice)
# such that on these tables it stops some drafts and not others
OUTLOOK = Outlook(head=0.7, confidence=0.8, bias=0.9, next_confidence=1.1, next_bias=0.6)


def edges_of(count: int, advice: Advice, *, max_draft: int = 2) -> list[Edge]:
    """One edge per neighbouring pair of `count` models, advised by a real head, by confidence, both or nobody."""
    found = []
    for index in range(count - 1):
        torch.manual_seed(index)
        head = AcceptancePredictionHead({"hidden_size": HIDDEN, "num_layers": 2}).eval()
        found.append(
            Edge(
                head=head if advice in {"heads", "outlook"} else None,
                min_draft=1,
                max_draft=max_draft,
                threshold=1.0 if advice == "fixed" else 0.5,
                outlook={"outlook": OUTLOOK, "confidence": BY_CONFIDENCE}.get(advice),
            )
        )
    return found


@pytest.mark.parametrize("advice", ADVICE)
@pytest.mark.parametrize("end_tokens", [frozenset[int](), frozenset({1})], ids=["endless", "end"])
@pytest.mark.parametrize(
    ("count", "vocab_size", "budget", "top_k", "temperature"),
    [
        pytest.param(1, 3, 4, 0, 1.0, id="N1"),
        pytest.param(2, 2, 5, 0, 0.7, id="N2"),
        pytest.param(2, 3, 3, 2, 1.0, id="N2-top_k"),
        pytest.param(3, 2, 4, 0, 1.0, id="N3"),
        pytest.param(3, 3, 3, 2, 1.3, id="N3-top_k"),
        pytest.param(4, 2, 4, 0, 1.0, id="N4"),
    ],
)
def test_law_is_the_targets(
    count: int,
    vocab_size: int,
    budget: int,
    top_k: int,
    temperature: float,
    end_tokens: frozenset[int],
    advice: Advice,
) -> None:
    """
    Over every choice that can be made, N levels give each text the very probability the target gives it.
    """
    levels = table_levels(count, vocab_size=vocab_size, seed=count)
    options: dict[str, Any] = {
        "budget": budget,
        "end_tokens": end_tokens,
        "top_k": top_k,
        "temperature": temperature,
    }

    found = cascade_law(levels, edges_of(count, advice), **options)

    assert distance(found, target_law(levels[-1], **options)) < 1e-12


def test_law_is_the_targets_whatever_each_edge_drafts() -> None:
    """
    Edges that draft differently, 3 tokens below and 1 above, leave the law alone.
    """
    levels = table_levels(3, vocab_size=2, seed=9)
    edges = [
        Edge(head=None, min_draft=1, max_draft=3, threshold=1.0),
        Edge(head=None, min_draft=1, max_draft=1, threshold=1.0),
    ]

    assert distance(cascade_law(levels, edges, budget=4), target_law(levels[-1], budget=4)) < 1e-12


def test_law_is_the_targets_with_lengths_that_follow_the_past() -> None:
    """
    Heuristic edges, whose length depends on what was kept before, leave the law alone.
    """
    levels = table_levels(3, vocab_size=2, seed=5)
    edges = [
        Edge(head=None, min_draft=1, max_draft=3, threshold=1.0, heuristic=True),
        Edge(head=None, min_draft=1, max_draft=2, threshold=1.0, heuristic=True),
    ]

    assert distance(cascade_law(levels, edges, budget=5), target_law(levels[-1], budget=5)) < 1e-12


class Ahead(Rounds):
    """Drafts ahead of the host."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given, ahead=True)


@pytest.mark.parametrize("kind", [Rounds, Ahead], ids=["waiting", "ahead"])
def test_law_is_the_targets_where_the_last_edge_alone_is_advised(kind: type[Rounds]) -> None:
    """
    As by the schedule 'top-head': below it drafts go by length, and the law is left alone.
    """
    levels = table_levels(3, vocab_size=2, seed=5)
    edges = [edges_of(3, "fixed", max_draft=3)[0], edges_of(3, "heads", max_draft=3)[1]]

    found = cascade_law(levels, edges, budget=3, kind=kind)

    assert distance(found, target_law(levels[-1], budget=3)) < 1e-12


@pytest.mark.parametrize("advice", ADVICE)
@pytest.mark.parametrize("end_tokens", [frozenset[int](), frozenset({1})], ids=["endless", "end"])
@pytest.mark.parametrize(("count", "budget"), [(2, 4), (3, 3), (4, 3)])
def test_drafting_ahead_of_the_host_leaves_the_law_alone(
    count: int, budget: int, end_tokens: frozenset[int], advice: Advice
) -> None:
    """
    What was drawn past the point where drafting should have stopped decides nothing.
    """
    levels = table_levels(count, vocab_size=2, seed=count)
    edges = edges_of(count, advice, max_draft=3)

    found = cascade_law(levels, edges, budget=budget, end_tokens=end_tokens, kind=Ahead)

    assert distance(found, target_law(levels[-1], budget=budget, end_tokens=end_tokens)) < 1e-12


@pytest.mark.parametrize("advice", ADVICE[1:])
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8, 1.0])
def test_drafting_ahead_proposes_what_waiting_would(threshold: float, advice: Advice) -> None:
    """
    Greedy, the same text, by as many proposals and acceptances at each place: the same stops, found without waiting.
    """
    told = []
    for kind in (Rounds, Ahead):
        levels = table_levels(3, vocab_size=3, seed=11)
        edges = [replace(edge, threshold=threshold, max_draft=4) for edge in edges_of(3, advice)]
        rounds = kind(
            levels=levels,
            edges=edges,
            rule=Greedy(),
            prompt=(0,),
            end_tokens=frozenset(),
            vocab_size=3,
        )
        while len(rounds.tokens) < 24:
            rounds.commit(24 - len(rounds.tokens))
        told.append((rounds.tokens, [(one.proposed_at, one.accepted_at) for one in rounds.tallies]))

    assert told[0] == told[1]


def test_greedy_law_is_one_text() -> None:
    """
    At temperature 0 the rule for distributions gives one text, the target's argmaxes, with certainty.
    """
    levels = table_levels(3, vocab_size=3, seed=4)
    text: tuple[int, ...] = ()
    for _ in range(6):
        logits = levels[-1].logits((0, *text))
        text = (*text, logits.index(max(logits)))

    assert cascade_law(levels, edges_of(3, "fixed"), budget=6, temperature=0.0) == {text: 1.0}


class ShiftedRows(Rounds):
    """Hands up each row one position late."""

    def propose(self, index: int, budget: int) -> Tensor | None:
        rows = super().propose(index, budget)
        return None if rows is None else rows.roll(1, dims=0)


class Withdrawing(Rounds):
    """Takes a drafted token back when it looks unlikely."""

    def propose(self, index: int, budget: int) -> Tensor | None:
        start = len(self.tokens)
        rows = super().propose(index, budget)
        if rows is not None and len(rows) > 1 and rows[-1][self.tokens[-1]] < 0.5:
            self.tokens.pop()
            for level in self.levels[: index + 1]:
                level.rollback(len(self.tokens) - 1)
            rows = rows[: len(self.tokens) - start]
        return rows


class Remembering(Rounds):
    """Knows the rows that were last verified against, to hand up wrong ones."""

    draft_rows: Tensor
    verdict: Acceptance

    def _verify(self, index: int, start: int, budget: int) -> Round:
        found = super()._verify(index, start, budget)
        return replace(found, rows=self.handed_up(found.rows))

    def handed_up(self, rows: Tensor) -> Tensor:
        return rows


class LittlesRows(Remembering):
    """The middle level hands up the little level's rows for the tokens it kept."""

    def handed_up(self, rows: Tensor) -> Tensor:
        count = min(len(self.draft_rows), len(rows) - 1)
        return torch.cat((self.draft_rows[:count], rows[count:]))


class ResidualRows(Remembering):
    """The middle level hands up the residual row for the token that replaced a rejected one."""

    def handed_up(self, rows: Tensor) -> Tensor:
        kept = int(self.verdict.kept)
        if kept >= len(self.draft_rows) or kept >= len(rows):
            return rows
        weights = sampling.residual(rows[kept], self.draft_rows[kept])
        return torch.cat((rows[:kept], (weights / weights.sum()).unsqueeze(0)))


class Recording(Warped):
    """Tells the rounds what it verified."""

    def accept(
        self, proposed: Tensor, draft_rows: Tensor, target_rows: Tensor, limit: Tensor | None = None
    ) -> Acceptance:
        verdict = super().accept(proposed, draft_rows, target_rows, limit)
        Remembering.draft_rows, Remembering.verdict = draft_rows, verdict
        return verdict


class UnwarpedDraft(Warped):
    """Draws by top-k, and hands up rows without it."""

    def rows(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=-1)

    def draw(self, rows: Tensor, race: Tensor | None = None) -> Tensor:
        assert race is None
        return self.randomness.draw(super().rows(rows.log())[-1])

    def accept(
        self, proposed: Tensor, draft_rows: Tensor, target_rows: Tensor, limit: Tensor | None = None
    ) -> Acceptance:
        return accept(proposed, draft_rows, super().rows(target_rows.log()), self.randomness, limit)


def recording(randomness: Randomness) -> Rule:
    return Recording(randomness, temperature=1.0)


def unwarped(randomness: Randomness) -> Rule:
    return UnwarpedDraft(randomness, temperature=1.0, top_k=2)


@pytest.mark.parametrize(
    ("count", "top_k", "kind", "rule"),
    [
        pytest.param(2, 0, ShiftedRows, None, id="rows shifted by one"),
        pytest.param(2, 2, Rounds, unwarped, id="unwarped q"),
        pytest.param(2, 0, Withdrawing, None, id="withdrawn tokens"),
        pytest.param(3, 0, LittlesRows, recording, id="little's rows at the target"),
        pytest.param(3, 0, ResidualRows, recording, id="residual row handed up"),
    ],
)
def test_a_fault_in_the_rounds_shows(
    count: int, top_k: int, kind: type[Rounds], rule: Callable[[Randomness], Rule] | None
) -> None:
    """
    The enumeration is no formality: each known fault moves the law far past rounding.
    """
    levels = table_levels(count, vocab_size=3, seed=3, likeness=0.3)
    options: dict[str, Any] = {"budget": 3, "top_k": top_k}

    found = cascade_law(levels, edges_of(count, "fixed"), kind=kind, rule=rule, **options)

    assert distance(found, target_law(levels[-1], **options)) > SHOWS


def test_a_residual_taken_from_p_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A rejected token replaced by a draw from p, instead of max(p - q, 0), moves the law.
    """
    monkeypatch.setattr(sampling, "residual", lambda p, _q: p)
    levels = table_levels(2, vocab_size=3, seed=3, likeness=0.3)

    found = cascade_law(levels, edges_of(2, "fixed"), budget=3)

    assert distance(found, target_law(levels[-1], budget=3)) > SHOWS


def test_an_unlooked_at_stop_is_no_withdrawal() -> None:
    """
    The same stop, taken before the token is drawn, leaves the law alone: heads decide so.
    """
    levels = table_levels(2, vocab_size=3, seed=1, likeness=0.5)

    found = cascade_law(levels, edges_of(2, "heads", max_draft=3), budget=3)

    assert distance(found, target_law(levels[-1], budget=3)) < 1e-12
