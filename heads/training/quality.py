"""How good a head is: ranking and calibration, each position weighted by its acceptance probability."""

from __future__ import annotations

import math
from typing import Any, Final

import torch

from heads.head import AcceptancePredictionHead
from heads.training.calibrating import calibrated, fitted_calibration
from heads.training.features import Positions
from registry.errors import ShapeError

BINS: Final = 15


def area_under_curve(scores: torch.Tensor, acceptance: torch.Tensor) -> float:
    """Probability that an accepted token scores above a rejected one, ties counted half.

    Args:
        scores: (n,), higher for more acceptable.
        acceptance: (n,), in 0..1; a position counts as `a` accepted and `1 - a` rejected tokens.

    Returns:
        0..1; 0.5 is chance. NaN when all or none is accepted.

    Raises:
        ShapeError: The two differ in length.
    """
    _same_length(scores, acceptance)
    _, group = torch.unique(scores.double(), sorted=True, return_inverse=True)
    weight = acceptance.double()
    groups = int(group.max()) + 1
    accepted = torch.zeros(groups, dtype=torch.double).scatter_add_(0, group, weight)
    rejected = torch.zeros(groups, dtype=torch.double).scatter_add_(0, group, 1 - weight)
    below = rejected.cumsum(0) - rejected
    return float((accepted * (below + rejected / 2)).sum() / (accepted.sum() * rejected.sum()))


def expected_calibration_error(
    predicted: torch.Tensor, acceptance: torch.Tensor, *, bins: int = BINS
) -> float:
    """Mean distance between predicted and true acceptance over equally wide bins, weighted by their size.

    Args:
        predicted: (n,), in 0..1.
        acceptance: (n,), in 0..1.
        bins: How many.

    Raises:
        ShapeError: The two differ in length.
    """
    _same_length(predicted, acceptance)
    index = (predicted.double() * bins).long().clamp(0, bins - 1)
    count = torch.zeros(bins, dtype=torch.double).scatter_add_(0, index, torch.ones(len(index)).double())
    gap = torch.zeros(bins, dtype=torch.double).scatter_add_(0, index, (predicted - acceptance).double())
    return float(gap.abs().sum() / count.sum())


def reliability(
    predicted: torch.Tensor, acceptance: torch.Tensor, *, bins: int = BINS
) -> list[dict[str, float]]:
    """The bins behind the calibration error, empty ones left out: how many fall there, and the means of both."""
    _same_length(predicted, acceptance)
    index = (predicted.double() * bins).long().clamp(0, bins - 1)
    found = []
    for one in index.unique().tolist():
        here = index == one
        found.append(
            {
                "low": one / bins,
                "high": (one + 1) / bins,
                "count": int(here.sum()),
                "predicted": float(predicted[here].double().mean()),
                "found": float(acceptance[here].double().mean()),
            }
        )
    return found


def brier_score(predicted: torch.Tensor, acceptance: torch.Tensor) -> float:
    """Mean squared error against a coin that falls 'accepted' with probability `acceptance`."""
    _same_length(predicted, acceptance)
    return float((acceptance * (1 - predicted) ** 2 + (1 - acceptance) * predicted**2).mean())


@torch.no_grad()
def head_quality(
    head: AcceptancePredictionHead, held_out: Positions, *, mismatch_weight: float
) -> dict[str, Any]:
    """AUC, Brier score and calibration error of a head on held-out positions, beside what needs no head.

    `ece` and `brier` are of the head's raw numbers, which the published rule uses and a mismatch weight
    lowers on purpose; `ece_unweighted` is after the weight is taken out again, `ece_calibrated` after scale and bias
    are fitted, on the one half of the positions for the other, so that none is judged by a fit that saw it.
    """
    parts = list(held_out.batches(4096))
    logit = torch.cat([head.logit(part.hidden) for part in parts])
    confidence, entropy = held_out.labels["confidence"], held_out.labels["entropy"]
    acceptance = held_out.acceptance
    predicted = torch.sigmoid(logit)
    return {
        "positions": len(held_out),
        "base_rate": acceptance.mean().item(),
        "auc": area_under_curve(logit, acceptance),
        "brier": brier_score(predicted, acceptance),
        "ece": expected_calibration_error(predicted, acceptance),
        "ece_unweighted": expected_calibration_error(
            torch.sigmoid(logit + math.log(mismatch_weight)), acceptance
        ),
        "ece_calibrated": expected_calibration_error(
            _crosswise(logit, acceptance, mismatch_weight), acceptance
        ),
        "baselines": {
            "max_probability": {"auc": area_under_curve(confidence, acceptance)},
            "entropy": {"auc": area_under_curve(-entropy, acceptance)},
        },
    }


def _crosswise(logit: torch.Tensor, acceptance: torch.Tensor, mismatch_weight: float) -> torch.Tensor:
    """Calibrated acceptance of each half of the positions, by scale and bias of the other half."""
    half = len(logit) // 2
    halves = slice(0, half), slice(half, None)
    found = torch.empty_like(logit)
    for mine, other in (halves, halves[::-1]):
        fit = fitted_calibration(logit[other], acceptance[other], mismatch_weight=mismatch_weight)
        found[mine] = calibrated(logit[mine], fit)
    return found


def _same_length(predicted: torch.Tensor, acceptance: torch.Tensor) -> None:
    if predicted.shape != acceptance.shape or predicted.ndim != 1:
        raise ShapeError(
            f"Predictions and labels pair up: expected two rows of one length, got {tuple(predicted.shape)} "
            f"and {tuple(acceptance.shape)}.",
            expected=tuple(acceptance.shape),
            found=tuple(predicted.shape),
        )
