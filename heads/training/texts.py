"""Step one: continuations sampled from the target, many prompts at a time."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from heads.anatomy import cache_argument
from heads.training.warper import Warper, drawn


@torch.inference_mode()
def continuations(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    uniform: torch.Tensor,
    end_tokens: Collection[int] = (),
    warper: Warper | None = None,
) -> list[list[int]]:
    """Sample after every prompt. What a prompt gets depends on its own numbers, and not on its neighbours'.

    Args:
        model: In eval mode.
        prompts: Token ids, of any lengths from 1 up; shorter ones are padded in front, and the padding is masked.
        uniform: (prompts, new tokens) numbers in [0, 1), float64, by which the tokens are drawn.
        end_tokens: A text ends with the first of these; it is kept.
        warper: How logits become rows; the model's own law when None.

    Returns:
        Prompts and what follows them, in order.
    """
    warper = warper or Warper()
    device = model.device
    lengths = [len(prompt) for prompt in prompts]
    longest = max(lengths)
    fed = torch.tensor([[0] * (longest - len(one)) + list(one) for one in prompts], device=device)
    mask = torch.tensor([[0] * (longest - size) + [1] * size for size in lengths], device=device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    options: dict[str, Any] = {cache_argument(model): DynamicCache(config=model.config), "use_cache": True}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        options["logits_to_keep"] = 1
    padded = min(lengths) < longest
    ends = torch.tensor(sorted(end_tokens), dtype=torch.long, device=device)
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    parts: list[torch.Tensor] = []
    for step in range(uniform.shape[1]):
        masked = {"attention_mask": mask, "position_ids": positions} if padded else {}
        logits = model(input_ids=fed, **masked, **options).logits[:, -1]
        token = drawn(warper.rows(logits), uniform[:, step])
        parts.append(token)
        ended |= torch.isin(token, ends)
        if bool(ended.all()):
            break
        fed, positions = token[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    new = torch.stack(parts, dim=1).tolist()
    return [[*prompt, *_cut(row, end_tokens)] for prompt, row in zip(prompts, new, strict=True)]


def end_tokens_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The ids that end a text, where decoding finds them too: the generation config, the config, the tokenizer."""
    for place in (model.generation_config, model.config.get_text_config(decoder=True), tokenizer):
        found = getattr(place, "eos_token_id", None)
        if found is not None:
            return frozenset({found} if isinstance(found, int) else found)
    return frozenset()


def _cut(row: Sequence[int], end_tokens: Collection[int]) -> list[int]:
    """Up to and with the first end token."""
    for at, token in enumerate(row):
        if token in end_tokens:
            return list(row[: at + 1])
    return list(row)
