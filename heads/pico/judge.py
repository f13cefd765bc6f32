"""The models of the family judged on held-out text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from transformers import LlamaForCausalLM

from heads.training.labels import rows


@torch.no_grad()
def nats_per_token(model: LlamaForCausalLM, windows: Iterable[torch.Tensor]) -> float:
    """Mean negative log-likelihood of the next token over (1, length + 1) windows."""
    placed = (ids.to(model.device) for ids in windows)
    losses = [-rows(model, ids[:, :-1]).gather(-1, ids[:, 1:, None]).mean().item() for ids in placed]
    return sum(losses) / len(losses)


@torch.no_grad()
def agreement(
    source: LlamaForCausalLM, target: LlamaForCausalLM, windows: Iterable[torch.Tensor]
) -> dict[str, float]:
    """Of two models' rows: acceptance at temperature 1 (sum of min(p, q)), and how often the argmax agrees."""
    accepted, same, count = 0.0, 0.0, 0
    for ids in windows:
        p, q = rows(target, ids.to(target.device)), rows(source, ids.to(source.device))
        accepted += torch.minimum(p.exp(), q.exp()).sum(dim=-1).sum().item()
        same += (p.argmax(dim=-1) == q.argmax(dim=-1)).sum().item()
        count += ids.numel()
    return {"acceptance": accepted / count, "greedy_agreement": same / count}


def distinct_ngrams(sequences: Sequence[Sequence[int]], n: int = 4) -> float:
    """Share of the n-grams of all sequences that occur nowhere else among them: 1 never repeats."""
    grams = [tuple(row[i : i + n]) for row in sequences for i in range(len(row) - n + 1)]
    return len(set(grams)) / len(grams)
