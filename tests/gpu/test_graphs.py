"""Levels played as CUDA graphs: their texts, their rollback, their law, and what their heads decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from heads import Cascade
from heads.engines.captured import CapturedLevel
from heads.engines.choice import ONE_FOR_ALL
from heads.engines.eager import EagerLevel
from heads.engines.recorded_head import RecordedHead
from heads.settings import SCHEDULES
from tests.heads.models import VOCAB, chain, noisy, random_head, tiny
from tests.heads.test_sampled import ALPHA, PROMPT, exact_law, p_value

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("ieee_float32")]
TEXT = [3, 14, 15, 9, 26, 5, 35, 8, 9]
NEW = 40
NEAR_TIE = 2.0**-5  # a gap, over the largest logit beside it, that bfloat16's 8 bits lose in a few layers


def on(device: torch.device, models: list[PreTrainedModel], dtype: torch.dtype) -> list[PreTrainedModel]:
    return [torch.nn.Module.to(model, device, dtype) for model in models]


def captured(cascade: Cascade) -> list[CapturedLevel]:
    """Its levels, all of them played as graphs."""
    levels = [level for level in cascade._levels if isinstance(level, CapturedLevel)]
    assert len(levels) == len(cascade.models)
    assert [level.refusal for level in levels] == [None] * len(levels)
    return levels


@pytest.mark.parametrize(
    "family", ["llama", "qwen2", "qwen3", "gpt_neox", "gpt2", "gemma2", "gemma3", "mistral"]
)
def test_in_float32_graphs_say_what_plain_decoding_says(family: str, device: torch.device) -> None:
    """
    Token for token, for three levels on every schedule, and for the target alone.
    """
    models = on(device, chain(family, noise=0.5 if family.startswith("gemma") else 0.03), torch.float32)
    heads = [random_head(seed=seed).to(device) for seed in (1, 2)]
    expected = Cascade(models[-1:], engine="eager").generate(TEXT, max_new_tokens=NEW).token_ids
    cascade = Cascade(models, heads)

    assert cascade.engines == ("captured",) * 3
    assert cascade.part([2]).generate(TEXT, max_new_tokens=NEW).token_ids == expected
    for schedule in SCHEDULES:
        out = cascade.generate(TEXT, max_new_tokens=NEW, max_draft=5, schedule=schedule)
        assert out.token_ids == expected, schedule
    captured(cascade)


def test_in_bfloat16_every_divergence_is_a_near_tie(
    device: torch.device, record_property: Callable[[str, object], None]
) -> None:
    """
    Where a cascade first leaves eager plain decoding, the target alone saw two tokens about as likely.

    Against plain decoding by the same graphs no text differs: one token and several take one path.
    """
    models = on(device, chain("qwen3", noise=0.1), torch.bfloat16)
    cascade = Cascade(models)
    alone = cascade.part([2])
    plain = Cascade(models[-1:], engine="eager")
    generator = torch.Generator().manual_seed(0)
    gaps: list[float] = []

    for _ in range(32):
        prompt = torch.randint(VOCAB, (40,), generator=generator).tolist()
        said = cascade.generate(prompt, max_new_tokens=NEW, max_draft=6).token_ids
        assert said == alone.generate(prompt, max_new_tokens=NEW).token_ids
        other = plain.generate(prompt, max_new_tokens=NEW).token_ids
        if said != other:
            at = next(place for place in range(NEW) if said[place] != other[place])
            with torch.inference_mode():
                ids = torch.tensor([prompt + said[:at]], device=device)
                row = models[-1](input_ids=ids).logits[0, -1].float()
            gaps.append(float((row[said[at]] - row[other[at]]).abs() / row.abs().max()))

    record_property("divergences", f"{len(gaps)} of 32")
    record_property("logit_gaps", ", ".join(f"{gap:.4f}" for gap in gaps))
    assert all(gap <= NEAR_TIE for gap in gaps), gaps


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_what_is_rolled_back_leaves_no_trace(family: str, device: torch.device) -> None:
    """
    Fed, taken back and fed otherwise, graphs give the rows of the whole text read anew, across a larger cache too.
    """
    model = torch.nn.Module.to(tiny(family), device)
    level = CapturedLevel(model, name=family)
    level.begin()
    generator = torch.Generator().manual_seed(0)
    held: list[int] = []

    while len(held) < 126:
        count = min(1 + int(torch.randint(9, (), generator=generator)), 126 - len(held))
        held += torch.randint(VOCAB, (count,), generator=generator).tolist()
        fed = level.feed(held[-count:], count)
        with torch.inference_mode():
            anew = model(input_ids=torch.tensor([held], device=device)).logits[0, -count:]
        torch.testing.assert_close(fed.logits, anew, atol=1e-3, rtol=1e-3)
        if len(held) < 120:
            del held[len(held) - int(torch.randint(count, (), generator=generator)) :]
            level.rollback(len(held))

    assert level.refusal is None


def test_sampled_texts_follow_the_target(device: torch.device) -> None:
    """
    Over 1000 seeds, whole texts of three levels come as often as the target alone would give them.
    """
    target = tiny(vocab_size=4, num_hidden_layers=1, initializer_range=0.3)
    law = exact_law(target, 3, temperature=1.0, top_k=0, end=3)
    draft = noisy(target, noise=0.5, seed=1)
    models = on(device, [noisy(draft, noise=0.5, seed=2), draft, target], torch.float32)
    cascade = Cascade(models, [random_head(seed=seed).to(device) for seed in range(2)])

    counts = Counter(
        tuple(
            cascade.generate(
                PROMPT, max_new_tokens=3, temperature=1.0, seed=seed, eos_token_id=[3], max_draft=3
            ).token_ids
        )
        for seed in range(1000)
    )

    captured(cascade)
    assert p_value(counts, law) > ALPHA


def test_a_head_decides_as_it_does_eagerly(device: torch.device) -> None:
    """
    Its numbers are the head's own, and in float32 every level proposes and keeps what it does eagerly.
    """
    models = on(device, chain("qwen2"), torch.float32)
    heads = [random_head(seed=seed).to(device) for seed in (1, 2)]
    recorded = RecordedHead(heads[0])
    for count in (1, 3, 3, 16):
        hidden = torch.randn(count, 16, device=device)
        with torch.inference_mode():
            torch.testing.assert_close(recorded.acceptance(hidden), heads[0].acceptance(hidden))

    reports = [
        Cascade(models, heads, engine=engine).generate(TEXT, max_new_tokens=NEW)
        for engine in ("eager", "captured")
    ]

    eager, graphs = ([(one.proposed_at, one.accepted_at) for one in out.levels] for out in reports)
    assert eager == graphs


@pytest.mark.parametrize(
    "law",
    [
        {"temperature": 0.0},
        {"temperature": 0.9},
        {"temperature": 0.9, "top_k": 20, "top_p": 0.9, "min_p": 0.01},
    ],
    ids=["greedy", "sampled", "cut"],
)
def test_a_recorded_draft_is_the_draft(
    device: torch.device, law: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Rows, draws, questions and stops in a graph of their own: by one seed the tokens and counts of the same steps
    launched one by one.
    """
    models = on(device, chain("qwen2"), torch.float32)
    heads = [random_head(seed=seed).to(device) for seed in (1, 2)]
    told = []
    for recorded in (True, False):
        if not recorded:
            monkeypatch.setattr(CapturedLevel, "recorded", lambda _self, step, *_examples: step)
        cascade = Cascade(models, heads)
        texts = [
            cascade.generate(TEXT, max_new_tokens=NEW, seed=seed, max_draft=5, **law)  # type: ignore[arg-type]
            for seed in range(3)
        ]
        assert len(captured(cascade)[0].beside) == 1
        told.append(
            [(out.token_ids, [(one.proposed_at, one.accepted_at) for one in out.levels]) for out in texts]
        )

    assert told[0] == told[1]


def test_a_cache_that_moves_keeps_its_text(device: torch.device) -> None:
    """
    Queries of one length only, as the target's are, and a text that outgrows the cache it began with.
    """
    model = torch.nn.Module.to(tiny("qwen3"), device)
    level = CapturedLevel(model, name="it", query_lengths=ONE_FOR_ALL)
    plain = EagerLevel(model, name="it")
    tokens = torch.randint(VOCAB, (120,), generator=torch.Generator().manual_seed(1)).tolist()
    for each in (level, plain):
        each.begin()

    for start in range(0, 120, 4):
        shown = level.feed(tokens[start : start + 4], 4).logits
        expected = plain.feed(tokens[start : start + 4], 4).logits
        torch.testing.assert_close(shown, expected, atol=1e-3, rtol=1e-3)
