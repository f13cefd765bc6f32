"""Many continuations of a target at once: what its heads are trained and judged on."""

from __future__ import annotations

import torch
from transformers import DynamicCache, LlamaForCausalLM

from heads.level import cache_argument


@torch.inference_mode()
def continuations(
    model: LlamaForCausalLM, prompts: torch.Tensor, new_tokens: int, *, generator: torch.Generator
) -> torch.Tensor:
    """Sample at temperature 1.

    Args:
        prompts: (batch, length) token ids, all of one length.
        new_tokens: How many to draw after each; an end token does not stop a row.

    Returns:
        (batch, length + new_tokens) token ids, prompts included.
    """
    cache, argument = DynamicCache(config=model.config), cache_argument(model)
    parts, fed = [prompts], prompts
    for _ in range(new_tokens):
        logits = model(input_ids=fed, **{argument: cache}, use_cache=True, logits_to_keep=1).logits[:, -1]
        fed = torch.multinomial(torch.softmax(logits.float(), dim=-1), 1, generator=generator)
        parts.append(fed)
    return torch.cat(parts, dim=1).clone()
