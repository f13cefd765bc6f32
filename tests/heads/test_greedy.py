"""Greedy decoding in float32: token for token what the last model does alone."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from heads import Cascade
from heads.engines.choice import Engine
from heads.settings import SCHEDULES
from tests.heads.models import chain, random_head

PROMPT = [3, 14, 15, 9, 26, 5, 35, 8, 9]
NEW = 20
FAMILIES = ["llama", "qwen3", "gpt_neox", "gpt2", "gemma2", "gemma3", "mistral", "cohere", "granite", "opt"]
ENGINES = pytest.mark.parametrize("engine", ["eager", "captured", "fused"])
FUSED = ("llama", "qwen3", "gpt2", "gemma3")


def plain(model: PreTrainedModel, new_tokens: int = NEW) -> list[int]:
    """What transformers' own greedy decoding says."""
    ids = torch.tensor([PROMPT])
    out = model.generate(  # type: ignore[operator]
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new_tokens
    )
    return [int(token) for token in out[0, len(PROMPT) :]]


@pytest.mark.parametrize(
    ("family", "engine"),
    [
        *[(family, "eager") for family in FAMILIES],
        *[(family, "captured") for family in FAMILIES],
        *[(family, "fused") for family in FUSED],
    ],
)
@pytest.mark.usefixtures("uncompiled")
def test_a_chain_says_what_the_target_says(family: str, engine: Engine) -> None:
    """
    With soft caps, scales and sliding windows too, tokens equal those of plain generate, and of one level.
    """
    count = 3 if engine == "eager" else 2  # each level records graphs of its own, a second or two of them
    models = chain(family, count, noise=0.5 if family.startswith("gemma") else 0.03)
    cascade = Cascade(models, [random_head(seed=seed) for seed in range(1, count)], engine=engine)

    out = cascade.generate(PROMPT, max_new_tokens=NEW, max_draft=3)

    assert out.token_ids == plain(models[-1])
    assert out.token_ids == cascade.part([count - 1]).generate(PROMPT, max_new_tokens=NEW).token_ids
    draft = out.levels[-2]
    assert draft.proposed is not None
    assert draft.accepted is not None
    assert 0 < draft.accepted < draft.proposed


@pytest.mark.parametrize(
    ("count", "engine"),
    [
        *[(count, "eager") for count in (1, 2, 3, 4)],
        *[(count, "captured") for count in (1, 2, 3)],
        *[(count, "fused") for count in (1, 2)],
    ],
)
@pytest.mark.usefixtures("uncompiled")
def test_any_number_of_levels_and_any_schedule_say_the_same(count: int, engine: Engine) -> None:
    """
    One to four models, without heads, and with heads on every schedule: the target's own text.
    """
    models = chain("qwen2", count)
    expected = plain(models[-1])
    cascade = Cascade(models, [random_head(seed=seed) for seed in range(count - 1)], engine=engine)
    headless = cascade.part(range(count), [None] * (count - 1))

    assert headless.generate(PROMPT, max_new_tokens=NEW, max_draft=3).token_ids == expected
    for schedule in SCHEDULES:
        out = cascade.generate(PROMPT, max_new_tokens=NEW, max_draft=3, schedule=schedule)
        assert out.token_ids == expected, schedule


@ENGINES
@pytest.mark.usefixtures("uncompiled")
def test_one_model_may_stand_twice(engine: Engine) -> None:
    """
    A model that drafts for itself has two caches, and every proposal is accepted.
    """
    model = chain("llama", 1)[0]

    out = Cascade([model, model], engine=engine).generate(PROMPT, max_new_tokens=NEW, max_draft=4)

    assert out.token_ids == plain(model)
    assert out.levels[0].proposed == out.levels[0].accepted == 16
