"""What a level's cache holds is the text, and its rows are those of the whole text read anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor

from heads.anatomy import max_positions
from heads.decoding import decode
from heads.edge import Edge
from heads.engines.captured import CapturedLevel
from heads.engines.eager import EagerLevel
from heads.level import Fed
from heads.rounds import Rounds
from heads.sampling import Greedy, Seeded, Warped
from heads.stopping import Ending
from tests.heads.models import VOCAB, chain, random_head, tiny

PROMPT = [7, 3, 11, 2]


class Witness:
    """A level that reads the whole text anew at every forward and compares."""

    def __init__(self, level: EagerLevel | CapturedLevel) -> None:
        self.level = level
        self.name = level.name
        self.held: list[int] = []
        self.length = self.forwards = 0
        self.seconds = 0.0

    def begin(self, positions: int = 0) -> None:
        self.held = []
        self.level.begin(positions)
        self.length = 0

    def feed(self, token_ids: Sequence[int] | Tensor, rows: int) -> Fed:
        self.held += map(int, token_ids)
        fed = self.level.feed(token_ids, rows)
        with torch.inference_mode():
            anew = self.level.model(input_ids=torch.tensor([self.held]), output_hidden_states=True)
        assert torch.allclose(fed.logits, anew.logits[0, -rows:], atol=1e-4)
        assert torch.allclose(fed.hidden, anew.hidden_states[-1][0, -rows:], atol=1e-4)
        self.length = self.level.length
        return fed

    def rollback(self, length: int) -> None:
        del self.held[length:]
        self.level.rollback(length)
        self.length = self.level.length


Kind = Callable[..., EagerLevel | CapturedLevel]
STEPS = partial(CapturedLevel, recorded=False)  # that a recording says what its step says is shown elsewhere
ENGINES = pytest.mark.parametrize("kind", [EagerLevel, STEPS], ids=["eager", "captured"])
FUSED = partial(CapturedLevel, fused=True, query_lengths=(4,))  # of one length: each is recorded by itself


def witnesses(family: str, count: int = 3, kind: Kind = EagerLevel) -> list[Witness]:
    models = chain(family, count, noise=0.05)
    return [Witness(kind(model, name=f"m{index}")) for index, model in enumerate(models)]


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


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        *(
            pytest.param(family, kind, id=f"{family}-{name}")
            for family in ("llama", "gpt_neox", "gemma2", "gemma3", "mistral", "gpt2")
            for name, kind in (("eager", EagerLevel), ("captured", STEPS))
        ),
        *(pytest.param(family, FUSED, id=f"{family}-fused") for family in ("llama", "gemma3", "gpt2")),
    ],
)
@pytest.mark.usefixtures("uncompiled")
def test_cached_rows_are_the_rows_read_anew(family: str, kind: Kind) -> None:
    """
    At every level and forward of a sampled text that outgrows the sliding windows of 5.
    """
    count = 2 if kind is FUSED else 3  # each level records graphs of its own
    levels = witnesses(family, count, kind)

    assert len(text_of(levels, 16, temperature=1.0)) == 16
    if kind is FUSED:
        assert {level.level.engine for level in levels} == {"fused"}


@ENGINES
def test_a_budget_is_exact(kind: Kind) -> None:
    """
    Budgets 1 to 11 give as many tokens, each text a beginning of the longest.
    """
    levels = witnesses("llama", kind=kind)
    longest = text_of(levels, 11)

    for budget in range(1, 12):
        assert text_of(levels, budget) == longest[:budget]


@ENGINES
def test_an_end_token_ends_the_text_wherever_it_falls(kind: Kind) -> None:
    """
    Whichever token of the text is made the end token, the text is cut right after its first occurrence.
    """
    levels = witnesses("qwen2", kind=kind)
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


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_a_text_may_outgrow_its_cache_up_to_the_last_position(family: str) -> None:
    """
    Taken back now and then it stays true to position 128, though padding goes past it, into a cache of 256.
    """
    model = tiny(family)
    witness = Witness(STEPS(model, name=family))
    witness.begin()
    generator = torch.Generator().manual_seed(0)

    while witness.length < 126:
        count = min(1 + int(torch.randint(9, (), generator=generator)), 126 - witness.length)
        witness.feed(torch.randint(VOCAB, (count,), generator=generator), count)
        if witness.length < 120:
            witness.rollback(witness.length - int(torch.randint(count, (), generator=generator)))
    witness.feed([1, 2], 2)

    assert witness.length == max_positions(model) == 128
    assert list(witness.level._boards) == [128, 256]  # type: ignore[union-attr]
