"""What a model's own row says of the token drawn from it."""

from __future__ import annotations

import math

import pytest
import torch

from heads import AcceptancePredictionHead, Cascade
from heads.confidence import SUREST, confidence
from heads.engines.recorded_head import RecordedHead
from registry.records import Calibration, Outlook
from tests.heads.models import chain, random_head

PROMPT = [7, 3, 11, 2]
OUTLOOK = Outlook(head=0.5, confidence=0.6, bias=0.3, next_confidence=0.7, next_bias=0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_it_is_the_log_odds_of_the_largest_probability(dtype: torch.dtype) -> None:
    """
    Of every row, in the dtype that a model gives it in; beyond what float32 tells apart it is cut.
    """
    torch.manual_seed(0)
    logits = (5 * torch.randn(40, 300)).to(dtype)

    found = confidence(logits)

    best = logits.double().softmax(dim=-1).amax(dim=-1)
    torch.testing.assert_close(
        found,
        torch.logit(best).clamp(max=SUREST).float(),
        atol=0.02 if dtype == torch.bfloat16 else 1e-3,
        rtol=1e-3,
    )
    assert float(confidence(torch.tensor([[500.0, 0.0]]))) == pytest.approx(SUREST, abs=0.01)
    assert float(confidence(torch.zeros(1, 4))) == pytest.approx(math.log(1 / 3))


def test_a_chain_without_heads_drafts_by_confidence() -> None:
    """
    With the schedule 'confidence' lengths follow the models' own rows, and the greedy text stays the target's.
    """
    models = chain(count=3, noise=0.05)
    cascade = Cascade(models)
    plain = cascade.part([2]).generate(PROMPT, max_new_tokens=32, eos_token_id=[])
    options = {"max_new_tokens": 32, "max_draft": 6, "eos_token_id": []}

    texts = {
        limit: cascade.generate(PROMPT, schedule="confidence", threshold=limit, **options)  # type: ignore[arg-type]
        for limit in (0.0, 0.9, 1.0)
    }

    assert all(out.token_ids == plain.token_ids for out in texts.values())
    longest = [len(out.levels[0].proposed_at) for out in texts.values()]
    assert longest[0] == 1 <= longest[1] <= longest[2]
    fixed = cascade.generate(PROMPT, schedule="fixed", **options)  # type: ignore[arg-type]
    assert texts[1.0].levels[0].proposed_at == fixed.levels[0].proposed_at


def calibrated(**outlooks: Outlook) -> list[AcceptancePredictionHead]:
    heads = [random_head(seed=index) for index in range(2)]
    for head in heads:
        head.calibration = Calibration(scale=1.0, bias=0.0, **outlooks)
    return heads


def test_each_way_to_draw_has_an_outlook_of_its_own() -> None:
    """
    A greedy text is drafted by the greedy outlook, a sampled one by the other, or by the head alone where it has none.
    """
    models = chain(count=3, noise=0.05)
    never = OUTLOOK.model_copy(update={"next_confidence": 0.0, "next_bias": -9.0})  # stops after every token
    longest = {}
    for temperature in (0.0, 1.0):
        out = Cascade(models, calibrated(greedy=never)).generate(
            PROMPT, max_new_tokens=24, temperature=temperature, max_draft=4, threshold=0.9, eos_token_id=[]
        )
        longest[temperature] = len(out.levels[0].proposed_at)

    assert longest[0.0] == 1 < longest[1.0]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_recorded_heads_decide_as_heads_do(temperature: float) -> None:
    """
    Captured, with recorded heads, the text and every proposal are those of the eager cascade.
    """
    models = chain(count=2, noise=0.05)
    head = calibrated(greedy=OUTLOOK, sampled=OUTLOOK)[0]
    outs = [
        Cascade(models, [head], engine=engine).generate(
            PROMPT,
            max_new_tokens=16,
            temperature=temperature,
            max_draft=3,
            seed=2,
            threshold=0.6,
            eos_token_id=[],
        )
        for engine in ("eager", "captured")
    ]

    assert outs[0].token_ids == outs[1].token_ids
    assert outs[0].levels[0].proposed_at == outs[1].levels[0].proposed_at


def test_a_recorded_head_answers_both_questions() -> None:
    """
    Its logit is the head's own, whatever was asked before.
    """
    head = random_head(seed=1)
    head.calibration = Calibration(scale=0.5, bias=1.0, greedy=OUTLOOK)
    recorded = RecordedHead(head)
    hidden = torch.randn(3, head.hidden_size)

    recorded.warm_up(4, torch.float32)

    with torch.inference_mode():
        torch.testing.assert_close(recorded.logit(hidden), head.logit(hidden))
        torch.testing.assert_close(recorded.acceptance(hidden), head.acceptance(hidden))
        torch.testing.assert_close(recorded.logit(hidden), head.logit(hidden))
