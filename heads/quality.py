"""How good a head is: ranking and calibration, each position weighted by its acceptance probability."""

from __future__ import annotations

import math

import torch

from registry.errors import ShapeError


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


def expected_calibration_error(predicted: torch.Tensor, acceptance: torch.Tensor, *, bins: int = 15) -> float:
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


def brier_score(predicted: torch.Tensor, acceptance: torch.Tensor) -> float:
    """Mean squared error against a coin that falls 'accepted' with probability `acceptance`."""
    _same_length(predicted, acceptance)
    return float((acceptance * (1 - predicted) ** 2 + (1 - acceptance) * predicted**2).mean())


def unweighted(probability: torch.Tensor, mismatch_weight: float) -> torch.Tensor:
    """What a head trained with this weight on rejection would say without it: the logit plus log w."""
    logit: torch.Tensor = torch.special.logit(probability.double(), eps=1e-9)
    return torch.sigmoid(logit + math.log(mismatch_weight))


def _same_length(predicted: torch.Tensor, acceptance: torch.Tensor) -> None:
    if predicted.shape != acceptance.shape or predicted.ndim != 1:
        raise ShapeError(
            f"Predictions and labels pair up: expected two rows of one length, got {tuple(predicted.shape)} "
            f"and {tuple(acceptance.shape)}.",
            expected=tuple(acceptance.shape),
            found=tuple(predicted.shape),
        )
