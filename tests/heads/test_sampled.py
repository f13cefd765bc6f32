"""Sampled texts, by the tensors and generators that users run, follow the target's law."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from scipy.stats import chi2
from transformers import PreTrainedModel

from heads import Cascade
from heads.engines.choice import Engine
from heads.sampling import NO_TOKEN, Seeded, warp, winner
from heads.settings import SCHEDULES
from tests.heads.models import noisy, random_head, tiny

ALPHA = 1e-6
PROMPT = [1, 0, 2]


def exact_law(
    model: PreTrainedModel, length: int, *, temperature: float, top_k: int, end: int
) -> dict[tuple[int, ...], float]:
    """The target's law over texts of at most `length` tokens, from forwards without any cache."""
    law: dict[tuple[int, ...], float] = {}
    growing: list[tuple[tuple[int, ...], float]] = [((), 1.0)]
    for step in range(length):
        batch = torch.tensor([[*PROMPT, *text] for text, _ in growing])
        with torch.inference_mode():
            logits = model(input_ids=batch).logits[:, -1].double()
        rows = warp(logits, temperature=temperature, top_k=top_k).tolist()
        grown = [
            ((*text, token), chance * p)
            for (text, chance), row in zip(growing, rows, strict=True)
            for token, p in enumerate(row)
            if p > 0
        ]
        growing = [(text, chance) for text, chance in grown if text[-1] != end and step + 1 < length]
        law |= {text: chance for text, chance in grown if text[-1] == end or step + 1 == length}
    return law


def p_value(counts: Counter[tuple[int, ...]], law: dict[tuple[int, ...], float]) -> float:
    """Pearson's test, rare outcomes pooled; an impossible outcome is an error at once."""
    assert not counts.keys() - law.keys(), "an impossible text was sampled"
    total = sum(counts.values())
    usual = [text for text, chance in law.items() if chance * total >= 5]
    expected = [law[text] * total for text in usual]
    observed = [counts[text] for text in usual]
    expected.append(total - sum(expected))
    observed.append(total - sum(observed))
    statistic = sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True) if e > 1e-9)
    return float(chi2.sf(statistic, len(usual) - 1 + (expected[-1] > 1e-9)))


@pytest.mark.parametrize(
    ("count", "temperature", "top_k", "engine", "ahead", "schedule", "seeds"),
    [
        pytest.param(2, 1.0, 0, "eager", False, "heads", 1000, id="two"),
        *(pytest.param(3, 0.8, 3, "eager", False, one, 200, id=f"three-top_k-{one}") for one in SCHEDULES),
        pytest.param(3, 1.0, 0, "captured", False, "heads", 1000, id="three-captured"),
        pytest.param(3, 1.0, 3, "captured", True, "heads", 1000, id="three-ahead"),
        pytest.param(2, 0.8, 0, "fused", True, "heads", 1000, id="two-fused-ahead"),
    ],
)
@pytest.mark.usefixtures("uncompiled")
def test_sampled_texts_follow_the_target(
    count: int, temperature: float, top_k: int, engine: Engine, ahead: bool, schedule: str, seeds: int
) -> None:
    """
    Over many seeds, whole texts come as often as the target alone would give them; on every schedule.
    """
    models = [tiny(vocab_size=4, num_hidden_layers=1, initializer_range=0.3)]
    for seed in range(1, count):
        models.insert(0, noisy(models[0], noise=0.5, seed=seed))
    cascade = Cascade(models, [random_head(seed=seed) for seed in range(count - 1)], engine=engine)
    cascade.ahead = ahead

    counts = Counter(
        tuple(
            cascade.generate(
                PROMPT,
                max_new_tokens=3,
                temperature=temperature,
                top_k=top_k,
                seed=seed,
                eos_token_id=[3],
                max_draft=3,
                schedule=schedule,
            ).token_ids
        )
        for seed in range(seeds)
    )

    law = exact_law(models[-1], 3, temperature=temperature, top_k=top_k, end=3)
    assert sum(law.values()) == pytest.approx(1)
    assert p_value(counts, law) > ALPHA


@pytest.mark.parametrize("raced", [False, True], ids=["looked up", "raced"])
def test_a_draw_follows_its_weights(raced: bool) -> None:
    """
    Weights need not sum to one, and a zero weight is never drawn: neither asked for one by one nor by races.
    """
    weights = torch.tensor([0.5, 0.0, 1.5, 3.0, 1e-3])
    randomness, count = Seeded(11), 20_000
    drawn = (
        [winner(weights, race) for race in randomness.races(count, len(weights), weights.device)]
        if raced
        else [randomness.draw(weights) for _ in range(count)]
    )

    counts: Counter[tuple[int, ...]] = Counter((int(token),) for token in drawn)

    law: dict[tuple[int, ...], float] = {
        (token,): weight / 5.001 for token, weight in enumerate(weights.tolist()) if weight > 0
    }
    assert p_value(counts, law) > ALPHA


@pytest.mark.parametrize("weights", [[0.0, 0.0], [torch.nan, 1.0], [0.0, torch.nan]], ids=str)
def test_nobody_wins_a_race_without_weights(weights: list[float]) -> None:
    """
    Zeros and numbers that are none give no token, and no wrong one.
    """
    assert int(winner(torch.tensor(weights), Seeded(0).races(1, 2, torch.device("cpu"))[0])) == NO_TOKEN


def test_uniform_numbers_lie_in_their_interval() -> None:
    """
    0 is possible and 1 is not; their mean is a half.
    """
    drawn = Seeded(5).uniform(100_000, torch.device("cpu"))

    assert float(drawn.min()) >= 0
    assert float(drawn.max()) < 1
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.005)


def test_the_same_seed_gives_the_same_text() -> None:
    """
    And another seed another one; the global generator is neither read nor moved.
    """
    models = [noisy(tiny(), seed=1), tiny()]
    cascade = Cascade(models)
    state = torch.get_rng_state()

    texts = []
    for seed in (7, 7, 8):
        texts.append(cascade.generate([1, 2], max_new_tokens=12, temperature=1.0, seed=seed).token_ids)
        assert torch.equal(torch.get_rng_state(), state)
        torch.rand(3)
        state = torch.get_rng_state()

    assert texts[0] == texts[1] != texts[2]


def test_texts_of_different_seeds_differ() -> None:
    """
    Neighbouring seeds are as good as distant ones.
    """
    cascade = Cascade([tiny()])

    texts = [
        tuple(cascade.generate([1], max_new_tokens=8, temperature=2.0, seed=seed).token_ids)
        for seed in range(6)
    ]

    assert all(one != other for one, other in itertools.combinations(texts, 2))
