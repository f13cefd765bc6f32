"""Fused levels: their texts in float32, their near ties in bfloat16, and the kernel that they attend by."""

from __future__ import annotations

import pytest
import torch

from heads import Cascade
from heads.engines.attention import attend
from heads.engines.captured import CapturedLevel
from heads.engines.choice import ONE_FOR_ALL
from tests.heads.models import chain, random_head

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.usefixtures("ieee_float32"),
    pytest.mark.filterwarnings("ignore"),  # torch's compiler warns of its own parts
]
TEXT = [3, 14, 15, 9, 26, 5, 35, 8, 9]
NEW = 40


@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_in_float32_fused_levels_say_what_captured_ones_say(family: str, device: torch.device) -> None:
    """
    Token for token, drafts and what heads decide included; nothing falls back to what is not compiled.
    """
    models = chain(family, noise=0.5 if family == "gemma3" else 0.03)
    models = [torch.nn.Module.to(model, device) for model in models]
    heads = [random_head(seed=seed).to(device) for seed in (1, 2)]
    fused, captured = Cascade(models, heads, engine="fused"), Cascade(models, heads, engine="captured")

    for temperature in (0.0, 1.0):
        said = [
            cascade.generate(TEXT, max_new_tokens=NEW, max_draft=5, temperature=temperature, seed=5)
            for cascade in (fused, captured)
        ]
        assert said[0].token_ids == said[1].token_ids
        counts = [[(level.proposed, level.accepted) for level in out.levels] for out in said]
        assert counts[0] == counts[1]
    assert fused.engines == ("fused",) * 3
    assert fused.refusals == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("heads", "groups", "count", "size", "capacity"),
    [
        (16, 8, 1, 128, 384),
        (16, 8, 16, 128, 384),
        (40, 8, 16, 128, 1024),
        (6, 2, 5, 20, 130),
        (8, 1, 16, 64, 9000),
    ],
)
def test_attention_of_few_queries_is_attention(
    heads: int, groups: int, count: int, size: int, capacity: int, dtype: torch.dtype, device: torch.device
) -> None:
    """
    For heads that share keys, of sizes that are no power of two, over caches of any size, with much of them masked.
    """
    numbers = torch.Generator(device).manual_seed(0)
    queries = torch.randn(1, count, heads, size, generator=numbers, device=device).transpose(1, 2)
    keys, values = torch.randn(2, 1, groups, capacity, size, generator=numbers, device=device).unbind()
    past = (
        torch.arange(capacity, device=device) <= capacity // 2 + torch.arange(count, device=device)[:, None]
    )
    mask = torch.zeros(1, 1, count, capacity, device=device).masked_fill(~past, -torch.inf)
    strides = queries.stride() if count > 1 else torch.empty(queries.shape).stride()
    queries, keys, values, mask = (one.to(dtype) for one in (queries, keys, values, mask))

    shown = attend(queries, keys, values, mask, scale=size**-0.5, strides=strides)

    queries, keys, values, mask = (one.cpu().float() for one in (queries, keys, values, mask))
    expected = attend(queries, keys, values, mask, scale=size**-0.5, strides=strides).to(device)
    assert shown.dtype == dtype
    assert shown.stride() == strides
    assert torch.allclose(shown.float(), expected, atol=1e-5 if dtype == torch.float32 else 8e-3)


def test_in_bfloat16_a_cascade_says_what_its_target_says(device: torch.device) -> None:
    """
    By kernels of one length for one token and for several; and rows are the eager ones but for rounding.
    """
    models = [torch.nn.Module.to(model, device, torch.bfloat16) for model in chain("qwen3", noise=0.1)]
    cascade = Cascade(models, engine="fused")
    alone = cascade.part([2])
    numbers = torch.Generator().manual_seed(0)

    for _ in range(8):
        prompt = torch.randint(60, (40,), generator=numbers).tolist()
        said = cascade.generate(prompt, max_new_tokens=NEW, max_draft=6).token_ids
        assert said == alone.generate(prompt, max_new_tokens=NEW).token_ids
    target = cascade._levels[-1]
    assert isinstance(target, CapturedLevel)
    assert target.query_lengths == ONE_FOR_ALL
    assert target.refusal is None
