"""The family judged on held-out text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from transformers import LlamaForCausalLM

from heads.head import AcceptancePredictionHead
from heads.labels import Examples, rows
from heads.quality import area_under_curve, brier_score, expected_calibration_error, unweighted


@torch.no_grad()
def nats_per_token(model: LlamaForCausalLM, windows: Iterable[torch.Tensor]) -> float:
    """Mean negative log-likelihood of the next token over (1, length + 1) windows."""
    losses = [-rows(model, ids[:, :-1]).gather(-1, ids[:, 1:, None]).mean().item() for ids in windows]
    return sum(losses) / len(losses)


@torch.no_grad()
def agreement(
    source: LlamaForCausalLM, target: LlamaForCausalLM, windows: Iterable[torch.Tensor]
) -> dict[str, float]:
    """Of two models' rows: acceptance at temperature 1 (sum of min(p, q)), and how often the argmax agrees."""
    accepted, same, count = 0.0, 0.0, 0
    for ids in windows:
        p, q = rows(target, ids), rows(source, ids)
        accepted += torch.minimum(p.exp(), q.exp()).sum(dim=-1).sum().item()
        same += (p.argmax(dim=-1) == q.argmax(dim=-1)).sum().item()
        count += ids.numel()
    return {"acceptance": accepted / count, "greedy_agreement": same / count}


def distinct_ngrams(sequences: Sequence[Sequence[int]], n: int = 4) -> float:
    """Share of the n-grams of all sequences that occur nowhere else among them: 1 never repeats."""
    grams = [tuple(row[i : i + n]) for row in sequences for i in range(len(row) - n + 1)]
    return len(set(grams)) / len(grams)


@torch.no_grad()
def head_quality(
    head: AcceptancePredictionHead, held_out: Examples, *, mismatch_weight: float
) -> dict[str, object]:
    """AUC, Brier score and calibration error of a head on held-out positions, beside what needs no head.

    `ece` and `brier` are of the head's raw numbers, which the published rule uses and a mismatch weight
    lowers on purpose; `ece_unweighted` is after the weight is taken out again.
    """
    predicted = torch.softmax(head(held_out.hidden).float(), dim=-1)[:, 1]
    acceptance = held_out.acceptance
    plain = unweighted(predicted, mismatch_weight).float()
    return {
        "positions": len(held_out),
        "base_rate": acceptance.mean().item(),
        "auc": area_under_curve(predicted, acceptance),
        "brier": brier_score(predicted, acceptance),
        "ece": expected_calibration_error(predicted, acceptance),
        "ece_unweighted": expected_calibration_error(plain, acceptance),
        "baselines": {
            "max_probability": {"auc": area_under_curve(held_out.max_probability, acceptance)},
            "entropy": {"auc": area_under_curve(-held_out.entropy, acceptance)},
        },
    }
