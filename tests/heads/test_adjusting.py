"""Penalties and shared noise: the same at every level, so that the text stays the last model's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import RepetitionPenaltyLogitsProcessor

from heads import Cascade
from heads.adjusting import RepetitionPenalty, SharedNoise
from heads.sampling import Greedy, warp
from registry.errors import GenerationError
from tests.heads.models import chain, random_head

PROMPT = [3, 1, 4, 1, 5]


@given(
    tokens=st.lists(st.integers(0, 10), min_size=1, max_size=12),
    rows=st.integers(1, 5),
    penalty=st.floats(0.5, 2.0),
)
def test_each_row_is_penalised_by_the_tokens_before_it(tokens: list[int], rows: int, penalty: float) -> None:
    """
    Several rows at once come out as transformers' own processor makes them one by one.
    """
    rows = min(rows, len(tokens))
    first = len(tokens) - rows + 1
    logits = torch.randn(rows, 11, generator=torch.Generator().manual_seed(len(tokens)))
    theirs = RepetitionPenaltyLogitsProcessor(penalty)

    ours = RepetitionPenalty(penalty)(logits, tokens, first)

    for row in range(rows):
        said = torch.tensor([tokens[: first + row]])
        assert torch.allclose(ours[row], theirs(said, logits[row : row + 1].clone())[0])


def test_a_default_device_hides_no_token_that_was_said() -> None:
    """
    Which tokens were said is noted on the host, wherever torch is told to make tensors.
    """
    logits = torch.randn(2, 11, generator=torch.Generator().manual_seed(0))
    expected = RepetitionPenalty(2.0)(logits, [1, 2, 3], 2)

    with torch.device("meta"):
        found = RepetitionPenalty(2.0)(logits, [1, 2, 3], 2)

    assert torch.equal(found, expected)


@pytest.mark.parametrize("count", [2, 3])
def test_a_penalised_cascade_says_what_the_penalised_target_says(count: int) -> None:
    """
    Greedy with a repetition penalty, N levels give the tokens of `generate` with that penalty.
    """
    models = chain(count=count)
    cascade = Cascade(models, [random_head(seed=index) for index in range(count - 1)])

    found = cascade.generate(PROMPT, max_new_tokens=30, repetition_penalty=1.4).token_ids

    plain = models[-1].generate(  # type: ignore[operator]
        torch.tensor([PROMPT]),
        attention_mask=torch.ones(1, len(PROMPT), dtype=torch.long),
        max_new_tokens=30,
        do_sample=False,
        repetition_penalty=1.4,
        pad_token_id=0,
    )
    assert found == plain[0, len(PROMPT) :].tolist()
    assert found != cascade.generate(PROMPT, max_new_tokens=30).token_ids


def test_shared_noise_gives_the_text_of_the_last_model_alone() -> None:
    """
    With one seed, one, two and three levels draw the very same tokens, whatever they draft and ask.
    """
    models = chain(count=3)
    options: dict[str, Any] = {"max_new_tokens": 40, "temperature": 0.9, "shared_noise": True, "seed": 11}
    alone = Cascade(models[-1:]).generate(PROMPT, **options)

    for some in (models[1:], models):
        cascade = Cascade(some, [random_head(seed=index) for index in range(len(some) - 1)])
        for schedule in ("heads", "fixed", "heuristic"):
            out = cascade.generate(PROMPT, schedule=schedule, **options)
            assert out.token_ids == alone.token_ids
            assert out.levels[0].accepted is not None
            assert out.levels[0].accepted > 0

    other = Cascade(models).generate(PROMPT, **{**options, "seed": 12})
    assert other.token_ids != alone.token_ids


def test_shared_noise_draws_by_the_row() -> None:
    """
    Over many positions each token is drawn as often as its probability says.
    """
    logits = torch.tensor([0.3, -1.0, 2.0, 0.0, -torch.inf])
    noise = SharedNoise(5, temperature=0.8, top_k=0, top_p=1.0, min_p=0.0)
    count = 20_000

    rows = noise(logits.expand(count, -1), [], 0)

    share = Greedy().rows(rows).bincount(minlength=5) / count
    assert torch.allclose(share, warp(logits, temperature=0.8), atol=0.015)


def test_min_p_keeps_what_is_near_the_most_probable() -> None:
    """
    At min_p 0.5 a token half as probable as the first stays, one a little less probable goes.
    """
    row = warp(torch.tensor([0.4, 0.2001, 0.1999, 0.2]).log(), temperature=1.0, min_p=0.5)

    assert row.tolist() == pytest.approx([0.4 / 0.6001, 0.2001 / 0.6001, 0.0, 0.0], abs=1e-4)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"min_p": 1.5}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"schedule": "clever"}, "schedule"),
    ],
    ids=str,
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], named: str) -> None:
    """
    The error says which option, what is expected and what was given.
    """
    with pytest.raises(GenerationError, match=named):
        Cascade(chain(count=1)).generate(PROMPT, **options)
