"""How long a level drafts: the rule of SpecDec++, against a slow reading of it."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from heads import AcceptancePredictionHead
from heads.confidence import BY_CONFIDENCE
from heads.decoding import decode
from heads.edge import Edge
from heads.rounds import Round, Rounds
from heads.sampling import Seeded, Warped
from heads.stopping import Ending
from registry.records import Outlook
from tests.heads.toys import HIDDEN, PROMPT, TableLevel, table_levels

VOCAB = 5
OUTLOOK = Outlook(head=0.9, confidence=0.5, bias=0.6, next_confidence=0.4, next_bias=1.5)


def constant_head(acceptance: float) -> AcceptancePredictionHead:
    """A head that says the same of every token."""
    head = AcceptancePredictionHead({"hidden_size": HIDDEN, "num_layers": 0})
    with torch.no_grad():
        head.output.weight.zero_()
        head.output.bias.copy_(torch.tensor([0.0, math.log(acceptance / (1 - acceptance))]))
    return head


def varied_head(seed: int) -> AcceptancePredictionHead:
    """A head whose numbers are spread over 0.5 to 1."""
    torch.manual_seed(seed)
    head = AcceptancePredictionHead({"hidden_size": HIDDEN, "num_layers": 1})
    with torch.no_grad():
        head.output.bias.copy_(torch.tensor([0.0, 1.5]))
    return head


@dataclass(frozen=True)
class Drafted:
    """One proposal: by which level, after which text, with what budget; `ends` are its lengths round by round."""

    index: int
    before: tuple[int, ...]
    tokens: tuple[int, ...]
    budget: int
    ends: tuple[int, ...]


class Observed(Rounds):
    """Remembers every proposal."""

    drafted: list[Drafted]
    _ends: dict[int, list[int]]

    def propose(self, index: int, budget: int) -> Tensor | None:
        before = tuple(self.tokens)
        self._ends[index] = []
        rows = super().propose(index, budget)
        if rows is not None:
            tokens = tuple(self.tokens[len(before) :])
            assert len(rows) == len(tokens)
            self.drafted.append(Drafted(index, before, tokens, budget, tuple(self._ends[index])))
        return rows

    def _round(self, index: int, start: int, budget: int) -> Round:
        done = super()._round(index, start, budget)
        self._ends[index].append(len(self.tokens) - start)
        return done


def observe(
    levels: list[TableLevel],
    edges: list[Edge],
    *,
    budget: int = 24,
    end_tokens: frozenset[int] = frozenset(),
    seed: int = 0,
) -> Observed:
    for level in levels:
        level.begin()
    rounds = Observed(
        levels=levels,
        edges=edges,
        rule=Warped(Seeded(seed), temperature=1.0),
        prompt=PROMPT,
        end_tokens=end_tokens,
        vocab_size=VOCAB,
    )
    rounds.drafted, rounds._ends = [], defaultdict(list)
    decode(rounds, Ending(end_tokens=end_tokens), budget, lambda _tokens: None)
    return rounds


def length_by_the_book(drafted: Drafted, edge: Edge, level: TableLevel, end_tokens: frozenset[int]) -> int:
    """Where the rule stops this proposal, read from the rule's own words.

    After the step that fed y_1 .. y_(n-1) and drew y_n, the survival is the product of the head's numbers for
    y_1 .. y_(n-1), all of this proposal's own tokens; the text before it counts as 1. With an outlook each of them is
    the outlook's, by head and row, and that of y_n by its row counts, too.
    """
    for length in drafted.ends:
        survival = 1.0
        for fed in range(1, length):
            survival *= foreseen(edge, level, (*drafted.before, *drafted.tokens[:fed]))
        if edge.outlook is not None:
            odds = log_odds(level, (*drafted.before, *drafted.tokens[: length - 1]))
            survival *= sigmoid(edge.outlook.next_confidence * odds + edge.outlook.next_bias)
        enough = length >= edge.min_draft and 1 - survival > edge.threshold
        full = length >= min(edge.max_draft, drafted.budget)
        if enough or full or drafted.tokens[length - 1] in end_tokens:
            return length
    raise AssertionError("it stopped before the rule does")


def foreseen(edge: Edge, level: TableLevel, text: tuple[int, ...]) -> float:
    """How likely the last token of a text is kept, once it was read."""
    logit = 0.0
    if edge.head is not None:
        assert isinstance(edge.head, AcceptancePredictionHead)
        rejected, accepted = edge.head(torch.tensor(level.hidden(text))).tolist()
        logit = accepted - rejected
    if edge.outlook is None:
        return sigmoid(logit)
    odds = log_odds(level, text[:-1])
    return sigmoid(edge.outlook.head * logit + edge.outlook.confidence * odds + edge.outlook.bias)


def log_odds(level: TableLevel, text: tuple[int, ...]) -> float:
    """Of the largest probability of the row after a text."""
    weights = [math.exp(logit) for logit in level.logits(text)]
    return math.log(max(weights) / (sum(weights) - max(weights)))


def sigmoid(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))


@pytest.mark.parametrize(
    ("options", "length"),
    [
        pytest.param({"threshold": 0.5}, 5, id="1 - 0.8^4 is the first above 0.5"),
        pytest.param({"threshold": 0.3}, 3, id="1 - 0.8^2 is the first above 0.3"),
        pytest.param({"threshold": 0.0}, 2, id="the step that feeds verified text never counts"),
        pytest.param({"threshold": 0.5, "min_draft": 7}, 7, id="at least min_draft"),
        pytest.param({"threshold": 0.5, "max_draft": 4}, 4, id="at most max_draft"),
        pytest.param({"threshold": 1.0}, 9, id="threshold 1 is a fixed length"),
    ],
)
def test_a_head_of_four_in_five(options: dict[str, float], length: int) -> None:
    """
    A head that always says 0.8 drafts a length that can be worked out by hand.
    """
    values = {"min_draft": 1, "max_draft": 9, **options}
    edge = Edge(
        head=constant_head(0.8),
        min_draft=int(values["min_draft"]),
        max_draft=int(values["max_draft"]),
        threshold=values["threshold"],
    )

    first = observe(table_levels(2, vocab_size=VOCAB), [edge]).drafted[0]

    assert len(first.tokens) == length


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("threshold", [0.2, 0.45, 0.7])
@pytest.mark.parametrize("end_tokens", [frozenset[int](), frozenset({4})], ids=["endless", "end"])
@pytest.mark.parametrize("advice", ["heads", "outlook", "confidence"])
def test_lengths_are_by_the_book(
    count: int, threshold: float, end_tokens: frozenset[int], advice: str
) -> None:
    """
    Every proposal of every level stops where the rule, read slowly, stops it.
    """
    outlook = {"outlook": OUTLOOK, "confidence": BY_CONFIDENCE}.get(advice)
    levels = table_levels(count, vocab_size=VOCAB, seed=count, likeness=0.8)
    edges = [
        Edge(
            head=None if advice == "confidence" else varied_head(index),
            min_draft=1 + index % 2,
            max_draft=6,
            threshold=threshold,
            outlook=outlook,
        )
        for index in range(count - 1)
    ]

    for seed in range(3):
        for drafted in observe(levels, edges, end_tokens=end_tokens, seed=seed).drafted:
            expected = length_by_the_book(drafted, edges[drafted.index], levels[drafted.index], end_tokens)
            assert len(drafted.tokens) == expected == drafted.ends[-1]


def test_counters_tell_what_was_handed_up() -> None:
    """
    `proposed` counts the tokens of all proposals, and each round of the target adds one token to the accepted.
    """
    levels = table_levels(3, vocab_size=VOCAB, likeness=0.8)
    edges = [Edge(head=varied_head(index), min_draft=1, max_draft=4, threshold=0.5) for index in range(2)]

    rounds = observe(levels, edges, budget=30)

    for index, tally in enumerate(rounds.tallies):
        handed_up = [len(drafted.tokens) for drafted in rounds.drafted if drafted.index == index]
        assert tally.proposed == sum(handed_up)
        assert 0 < tally.accepted < tally.proposed
    assert len(rounds.tokens) - len(PROMPT) == 30 == rounds.tallies[1].accepted + levels[2].forwards
