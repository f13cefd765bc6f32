"""What a trace says of an edge, held against every choice that real rounds can meet."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from heads.edge import Edge
from heads.measuring.shares import kept_otherwise_shares, kept_shares, overlap
from heads.rounds import Rounds
from heads.sampling import Randomness, Warped, warp
from tests.heads.toys import PROMPT, TableLevel, every_outcome, table_levels

VOCAB = 5


def rows_of(level: TableLevel) -> Tensor:
    """A table's own row after the prompt, (1, vocab)."""
    return warp(torch.tensor([level.logits(PROMPT)], dtype=torch.float64), temperature=1.0)


def first_round(levels: list[TableLevel]) -> dict[tuple[int, ...], float]:
    """The law of the first token of a round, and for each edge of whether its first proposal was kept."""
    edges = [Edge(head=None, min_draft=1, max_draft=length, threshold=1.0) for length in (1, 2)]
    edges = edges[: len(levels) - 1]

    def run(randomness: Randomness) -> tuple[int, ...]:
        for level in levels:
            level.begin()
        rounds = Rounds(
            levels=levels,
            edges=edges,
            rule=Warped(randomness, temperature=1.0),
            prompt=PROMPT,
            end_tokens=frozenset(),
            vocab_size=VOCAB,
        )
        said = rounds.commit(3)
        return (said[0], *(tally.accepted_at[0] for tally in rounds.tallies))

    return every_outcome(run)


def test_kept_is_what_a_round_does_given_its_token() -> None:
    """
    Of all rounds that leave a token, the share in which it was proposed and kept is min(1, q / p), exactly.
    """
    levels = table_levels(2, vocab_size=VOCAB)
    q, p = map(rows_of, levels)
    law = first_round(levels)

    for token in range(VOCAB):
        found = law.get((token, 1), 0.0) / (law.get((token, 0), 0.0) + law[token, 1])
        assert float(kept_shares(q, p, torch.tensor([token]))) == pytest.approx(found, abs=1e-12)


def test_the_mean_of_kept_is_the_overlap() -> None:
    """
    Over the target's own tokens, each as often as it says it, the shares come to the sum of min(p, q).
    """
    q, p = map(rows_of, table_levels(2, vocab_size=VOCAB, seed=3))
    every = torch.arange(VOCAB)

    mean = (p[0] * kept_shares(q.expand(VOCAB, -1), p.expand(VOCAB, -1), every)).sum()

    assert float(mean) == pytest.approx(float(overlap(q, p)), abs=1e-12)


def test_an_inner_edge_knows_what_the_level_above_did() -> None:
    """
    Whether the lowest proposal stood is `kept` where the top kept the token, and `kept_otherwise` where it did not.
    """
    levels = table_levels(3, vocab_size=VOCAB, seed=1)
    q, p, above = map(rows_of, levels)
    law = first_round(levels)

    for token in range(VOCAB):
        stood, fell = (law.get((token, kept, 1), 0.0) for kept in (1, 0))
        assert float(kept_shares(q, p, torch.tensor([token]))) == pytest.approx(
            stood / (stood + fell), abs=1e-9
        )
    refused = {kept: sum(law.get((token, kept, 0), 0.0) for token in range(VOCAB)) for kept in (0, 1)}
    assert float(kept_otherwise_shares(q, p, above)) == pytest.approx(
        refused[1] / (refused[0] + refused[1]), abs=1e-9
    )


def test_what_the_target_holds_impossible_was_never_kept() -> None:
    """
    A model further up may say what the edge's target never would: no share of that, and no number that is none.
    """
    q, p = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]])

    assert kept_shares(q, p, torch.tensor([1])).tolist() == [0.0]
    assert kept_otherwise_shares(q, p, p).tolist() == overlap(q, p).tolist() == [0.5]
