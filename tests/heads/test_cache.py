"""What a level's cache holds is the text, and its rows are those of the whole text read anew."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from heads.cascade import decode
from heads.edge import Edge
from heads.engines.eager import EagerLevel
from heads.level import Fed
from heads.rounds import Rounds
from heads.sampling import Greedy, Seeded, Warped
from heads.stopping import Ending
from tests.heads.models import VOCAB, chain, random_head

PROMPT = [7, 3, 11, 2]


class Witness(EagerLevel):
    """Reads the whole text anew at every forward and compares."""

    def __init__(self, model: PreTrainedModel, *, name: str) -> None:
        self.held: list[int] = []
        super().__init__(model, name=name)

    def begin(self, positions: int = 0) -> None:
        self.held = []
        super().begin(positions)

    def feed(self, token_ids: Sequence[int] | Tensor, rows: int) -> Fed:
        self.held += map(int, token_ids)
        fed = super().feed(token_ids, rows)
        with torch.inference_mode():
            anew = self.model(input_ids=torch.tensor([self.held]), output_hidden_states=True)
        assert torch.allclose(fed.logits, anew.logits[0, -rows:], atol=1e-4)
        assert torch.allclose(fed.hidden, anew.hidden_states[-1][0, -rows:], atol=1e-4)
        return fed

    def rollback(self, length: int) -> None:
        del self.held[length:]
        super().rollback(length)


def witnesses(family: str, count: int = 3) -> list[Witness]:
    return [Witness(model, name=f"m{index}") for index, model in enumerate(chain(family, count, noise=0.05))]


def text_of(
    levels: list[Witness], budget: int, *, end_tokens: frozenset[int] = frozenset(), temperature: float = 0.0
) -> list[int]:
    """Decode, checking after every settled round that each cache holds a beginning of the text."""
    for level in levels:
        level.begin()
    edges = [
        Edge(head=random_head(seed=index), min_draft=1, max_draft=3, threshold=0.6)
        for index in range(len(levels) - 1)
    ]
    rounds = Rounds(
        levels=levels,
        edges=edges,
        rule=Warped(Seeded(3), temperature=temperature) if temperature else Greedy(),
        prompt=PROMPT,
        end_tokens=end_tokens,
        vocab_size=VOCAB,
    )

    def check(_tokens: list[int]) -> None:
        for level in levels:
            assert level.held == rounds.tokens[: level.length]
            assert level.length < len(rounds.tokens)

    tokens, _ = decode(rounds, Ending(end_tokens=end_tokens), budget, check)
    return tokens


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma2", "gemma3"])
def test_cached_rows_are_the_rows_read_anew(family: str) -> None:
    """
    At every level and forward of a sampled text that outgrows the sliding windows of 5.
    """
    assert len(text_of(witnesses(family), 16, temperature=1.0)) == 16


def test_a_budget_is_exact() -> None:
    """
    Budgets 1 to 11 give as many tokens, each text a beginning of the longest.
    """
    levels = witnesses("llama")
    longest = text_of(levels, 11)

    for budget in range(1, 12):
        assert text_of(levels, budget) == longest[:budget]


def test_an_end_token_ends_the_text_wherever_it_falls() -> None:
    """
    Whichever token of the text is made the end token, the text is cut right after its first occurrence.
    """
    levels = witnesses("qwen2")
    longest = text_of(levels, 11)

    for end in dict.fromkeys(longest):
        cut = longest[: longest.index(end) + 1]
        assert text_of(levels, 11, end_tokens=frozenset({end})) == cut


def test_an_end_token_in_the_prompt_ends_nothing() -> None:
    """
    Only a new token can end the text.
    """
    levels = witnesses("llama", 2)
    longest = text_of(levels, 6)
    unused = next(token for token in PROMPT if token not in longest)

    assert text_of(levels, 6, end_tokens=frozenset({unused})) == longest
